"""A pool's nodes over time: started, drained, taken back by the cloud, given back; and what they cost."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from loadtests.simulation.cloud import SPOT, Cloud, Node
from loadtests.simulation.replicas import Replicas

# As Serve stops a replica (`serve_app/graph.py`), and what a stage tells at once (`serve_app/pipeline/`).
GRACE_S = 20.0
WINDOW_S = 1.0


class Fleet:
    """Keeps as many replicas starting or up as `target` says. Draining ones come on top, as with Serve."""

    def __init__(self, cloud: Cloud, replicas: Replicas, max_places: int) -> None:
        self.target = 0
        self.cost = 0.0
        self.preemptions = 0
        self._cloud = cloud
        self._replicas = replicas
        self._nodes: list[Node] = []
        self._free = list(range(max_places))
        self._plans: list[tuple[float, int, Callable[[], None]]] = []
        self._num_plans = 0

    @property
    def up(self) -> int:
        return self._count("up")

    def advance(self, until_s: float) -> None:
        """Nodes and generations, all that happens until then, in order."""
        while self._plans and self._plans[0][0] <= until_s:
            at_s, _, happen = heapq.heappop(self._plans)
            self._replicas.advance(at_s)
            happen()
        self._replicas.advance(until_s)

    def begin(self, target: int) -> None:
        """With so many replicas that are up at once, as if they had been before."""
        self.target = target
        for _ in range(target):
            node, _ = self._buy()
            node.replica = self._free.pop()
            self._ready(node, node.step)

    def scale(self, target: int) -> None:
        self.target = target
        self._reconcile()

    def settled_cost(self) -> float:
        """Of nodes that are gone and, until now, of those that are not."""
        return self.cost + sum(self._cloud.cost(node, self._now_s) for node in self._nodes)

    @property
    def _now_s(self) -> float:
        return self._replicas.now_s

    def _count(self, phase: str) -> int:
        return sum(node.phase == phase for node in self._nodes)

    def _reconcile(self) -> None:
        living = [node for node in self._nodes if node.phase in ("starting", "up")]
        for _ in range(min(self.target - len(living), len(self._free))):
            self._start()
        if len(living) > self.target:
            # Those first that have not begun, then those with the least to move.
            living.sort(key=lambda node: (node.phase == "up", self._used(node), -node.born_s))
            for node in living[: len(living) - self.target]:
                self._stop(node)

    def _start(self) -> None:
        idle = [node for node in self._nodes if node.phase == "idle"]
        if idle:
            node, started_s = idle[0], self._now_s
        else:
            node, started_s = self._buy()
        node.replica = self._free.pop()
        step = self._enter(node, "starting")
        self._plan(max(started_s, self._now_s) + self._cloud.load_s(), lambda: self._ready(node, step))

    def _buy(self) -> tuple[Node, float]:
        """And when it has started."""
        node, started_s = self._cloud.buy(self._now_s)
        self._nodes.append(node)
        if node.market == SPOT:
            self._plan(node.born_s + self._cloud.life_s(), lambda: self._taken(node))
        return node, started_s

    def _ready(self, node: Node, step: int) -> None:
        if node.step == step and node.replica is not None:
            self._enter(node, "up")
            self._replicas.open(node.replica)

    def _stop(self, node: Node) -> None:
        if self._used(node):
            self._drain(node)
        else:
            self._leave(node)

    def _drain(self, node: Node) -> None:
        assert node.replica is not None
        self._replicas.close(node.replica)
        step = self._enter(node, "draining")
        self._plan(self._now_s + GRACE_S, lambda: self._drained(node, step))

    def _drained(self, node: Node, step: int) -> None:
        if node.step == step:
            self._leave(node)

    def _leave(self, node: Node) -> None:
        """The replica is gone, and the node is there for another one for a while."""
        self._vacate(node)
        step = self._enter(node, "idle")
        self._plan(self._now_s + self._cloud.settings.idle_s, lambda: self._unused(node, step))

    def _unused(self, node: Node, step: int) -> None:
        if node.step == step:
            self._end(node)

    def _taken(self, node: Node) -> None:
        if node.phase == "gone":
            return
        self.preemptions += 1
        if not self._cloud.gives_notice():
            self._end(node)
        else:
            if node.phase == "up" and node.replica is not None:
                self._replicas.close(node.replica)
            self._enter(node, "draining")
            self._plan(self._now_s + min(GRACE_S, self._cloud.settings.notice_s), lambda: self._vacate(node))
            self._plan(self._now_s + self._cloud.settings.notice_s, lambda: self._end(node))
        self._reconcile()

    def _vacate(self, node: Node) -> None:
        if node.replica is not None:
            self._replicas.empty(node.replica, WINDOW_S)
            self._free.append(node.replica)
            node.replica = None

    def _end(self, node: Node) -> None:
        self._vacate(node)
        self._enter(node, "gone")
        self._nodes.remove(node)
        self.cost += self._cloud.cost(node, self._now_s)

    def _used(self, node: Node) -> int:
        return 0 if node.replica is None else self._replicas.used(node.replica)

    def _enter(self, node: Node, phase: str) -> int:
        node.phase = phase
        node.step += 1
        return node.step

    def _plan(self, at_s: float, happen: Callable[[], None]) -> None:
        self._num_plans += 1  # so that what comes at one time comes in the order it was planned
        heapq.heappush(self._plans, (at_s, self._num_plans, happen))
