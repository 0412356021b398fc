"""The nodes of the Ray cluster as metrics: how many there are of each market, and why others have ended."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import ray
from ray.exceptions import RayError

from deployments.liveness.stalls import within
from deployments.telemetry.metric import Recorder
from serve_app.errors import NotReady
from serve_app.telemetry.metrics_page import NodeAgent
from serve_app.telemetry.service_metrics import NODES, NODES_ENDED

Market = Literal["spot", "on-demand", "none"]
EndReason = Literal["preempted", "lost", "idle", "ended"]


@dataclass(frozen=True)
class ClusterNode:
    """ended: why it has ended; None while it is alive. metrics_url: where its agent exposes metrics."""

    node_id: str
    market: Market
    ended: EndReason | None
    metrics_url: str


def record_nodes(recorder: Recorder, nodes: Iterable[ClusterNode]) -> None:
    """Sets the metrics of each market and reason, zeros included."""
    counts = Counter((node.market, node.ended) for node in nodes)
    for market in get_args(Market):
        recorder.set(NODES, counts[market, None], market=market)
        for reason in get_args(EndReason):
            recorder.set(NODES_ENDED, counts[market, reason], market=market, reason=reason)


TIMEOUT_S = 3.0
_MARKET_LABEL = "ray.io/market-type"
_MARKETS: Mapping[str, Market] = {"spot": "spot", "on-demand": "on-demand"}
# NodeDeathInfo.Reason in Ray's src/ray/protobuf/common.proto.
_REASONS: Mapping[int, EndReason] = {2: "lost", 3: "preempted", 4: "idle"}


async def nodes() -> list[ClusterNode]:
    """All nodes, ended ones included as far as Ray remembers them. Raises: NotReady where Ray does not answer."""
    try:
        found = await within(asyncio.to_thread(ray.nodes), TIMEOUT_S)
    except (RayError, asyncio.TimeoutError) as error:
        raise NotReady("The cluster's nodes can't be told just now; try again in a moment.") from error
    return [_node(each) for each in found]


async def agents() -> Sequence[NodeAgent]:
    """The agents of all nodes that are alive. Raises: as `nodes`."""
    return [NodeAgent(node.node_id[:12], node.metrics_url) for node in await nodes() if node.ended is None]


def _node(found: Mapping[str, Any]) -> ClusterNode:
    address, port = found["NodeManagerAddress"], found["MetricsExportPort"]
    host = f"[{address}]" if ":" in address else address
    return ClusterNode(
        node_id=found["NodeID"],
        market=_MARKETS.get(found["Labels"].get(_MARKET_LABEL, ""), "none"),
        ended=None if found["Alive"] else _REASONS.get(found["DeathReason"], "ended"),
        metrics_url=f"http://{host}:{port}/metrics",
    )
