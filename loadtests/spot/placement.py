"""Where the language models' replicas are, as Serve says it, for as long as somebody looks."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from loadtests.fleet.deploy_file import APPLICATION, MODEL
from loadtests.fleet.fleet import Fleet
from loadtests.fleet.node_kinds import SPOT

REALTIME, BATCH = f"{MODEL}-language-model", f"{MODEL}-batch-language-model"
_LOOK_S = 0.5

Pool = tuple[str, str]  # a deployment, a market


@dataclass(frozen=True)
class Placement:
    """At a moment, by pool the replicas that take requests. batch_nodes: those with one of the batch pool's.
    realtime_on_spot: replicas there, in whatever state.
    """

    at_s: float
    running: Mapping[Pool, int]
    batch_nodes: frozenset[str]
    realtime_on_spot: int

    def of(self, deployment: str) -> int:
        """Its replicas that take requests, wherever."""
        return sum(number for (name, _), number in self.running.items() if name == deployment)


class PlacementObserver:
    """clock: seconds since the demonstration began. seen: what was seen, a look every half second."""

    def __init__(self, fleet: Fleet, clock: Callable[[], float]) -> None:
        self._fleet = fleet
        self.clock = clock
        self.seen: list[Placement] = []

    async def run(self) -> None:
        """Until cancelled. The dashboard may be too busy to answer once."""
        while True:
            with contextlib.suppress(httpx.HTTPError):
                deployments = await asyncio.to_thread(self._fleet.deployments, APPLICATION)
                markets = {node.node_id: node.kind.market for node in self._fleet.nodes}
                self.seen.append(placement(self.clock(), deployments, markets))
            await asyncio.sleep(_LOOK_S)

    async def until(self, condition: Callable[[Placement], bool]) -> float:
        """When it first holds, of what is seen from now on."""
        at = len(self.seen)
        while True:
            for each in self.seen[at:]:
                if condition(each):
                    return each.at_s
            at = len(self.seen)
            await asyncio.sleep(_LOOK_S / 2)


def placement(at_s: float, deployments: Mapping[str, Mapping[str, Any]], markets: Mapping[str, str]) -> Placement:
    """deployments: as Serve tells of them. markets: by node id."""
    running: Counter[Pool] = Counter()
    batch_nodes = set()
    on_spot = 0
    for name in (REALTIME, BATCH):
        for replica in deployments.get(name, {}).get("replicas", ()):
            node_id = replica.get("node_id") or ""  # of one that has none yet
            market = markets.get(node_id, "")
            on_spot += name == REALTIME and market == SPOT
            if replica["state"] == "RUNNING":
                running[name, market] += 1
                if name == BATCH:
                    batch_nodes.add(node_id)
    return Placement(at_s, running, frozenset(batch_nodes), on_spot)
