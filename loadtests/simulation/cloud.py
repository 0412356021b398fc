"""What a cloud sells: nodes that take a while to start, on demand or on spot, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ON_DEMAND, SPOT = "on-demand", "spot"


@dataclass(frozen=True)
class CloudSettings:
    """A node has one replica. Times to start and to load vary evenly by `jitter` of themselves to either side.

    idle_s: until a node without a replica is given back. refused: the share of requests for spot that fail; after
    refusal_s a node on demand is requested instead. preemptions_per_hour: of a spot node, of which `noticed` get their
    notice, notice_s before the end. Prices: of a node and hour.
    """

    spot: bool = False
    node_start_s: float = 150.0
    load_s: float = 45.0
    jitter: float = 0.3
    idle_s: float = 300.0
    refused: float = 0.1
    refusal_s: float = 60.0
    preemptions_per_hour: float = 0.05
    noticed: float = 0.9
    notice_s: float = 120.0
    on_demand_price: float = 1.0
    spot_price: float = 0.4

    def price(self, market: str) -> float:
        return self.spot_price if market == SPOT else self.on_demand_price


@dataclass
class Node:
    """Billed from born_s until it is gone. replica: its place in the pool while it has one."""

    market: str
    born_s: float
    replica: int | None = None
    phase: str = "starting"  # then up, draining, idle, gone; from idle it may start again
    step: int = 0  # counts what happened to it, so that what was planned before is told from what holds


class Cloud:
    """Draws what happens to nodes, in the order they are requested."""

    def __init__(self, settings: CloudSettings, rng: np.random.Generator) -> None:
        self.settings = settings
        self._rng = rng

    def buy(self, now_s: float) -> tuple[Node, float]:
        """A node, and when it has started."""
        market, born_s = ON_DEMAND, now_s
        if self.settings.spot:
            refused = self._rng.random() < self.settings.refused
            market = ON_DEMAND if refused else SPOT
            born_s += self.settings.refusal_s if refused else 0.0
        return Node(market, born_s), born_s + self._about(self.settings.node_start_s)

    def load_s(self) -> float:
        """Until a replica on a node that is there has its model."""
        return self._about(self.settings.load_s)

    def life_s(self) -> float:
        """Of a spot node, from its birth until it is taken back, or until its notice of that."""
        if self.settings.preemptions_per_hour == 0:
            return np.inf
        return float(self._rng.exponential(3600 / self.settings.preemptions_per_hour))

    def gives_notice(self) -> bool:
        return bool(self._rng.random() < self.settings.noticed)

    def cost(self, node: Node, until_s: float) -> float:
        return max(0.0, until_s - node.born_s) / 3600 * self.settings.price(node.market)

    def _about(self, seconds: float) -> float:
        return seconds * float(self._rng.uniform(1 - self.settings.jitter, 1 + self.settings.jitter))
