"""The nodes of the cluster, as figures: how many there are of each market, and why others are gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from deployments.metrics.catalogue import NODES, NODES_ENDED
from deployments.metrics.recorder import Recorder

Market = Literal["spot", "on-demand", "none"]
EndReason = Literal["preempted", "lost", "idle", "ended"]


@dataclass(frozen=True)
class Node:
    """ended: why it is gone; None while it is alive. figures_url: where its agent shows its figures."""

    node_id: str
    market: Market
    ended: EndReason | None
    figures_url: str


def record_nodes(recorder: Recorder, nodes: Iterable[Node]) -> None:
    """Of each market and reason, also where there is none."""
    counts = Counter((node.market, node.ended) for node in nodes)
    for market in get_args(Market):
        recorder.set(NODES, counts[market, None], market=market)
        for reason in get_args(EndReason):
            recorder.set(NODES_ENDED, counts[market, reason], market=market, reason=reason)
