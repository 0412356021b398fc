"""The scenario: one spot node is lost with notice, then another without, while all clients request music."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import psutil

from loadtests.fleet.deploy_file import SLOTS
from loadtests.fleet.fleet import Fleet, Node
from loadtests.fleet.metadata_server import MetadataServer
from loadtests.spot.client import Client
from loadtests.spot.observations import NodeLoss
from loadtests.spot.placement import BATCH, Placement, PlacementObserver

WORKERS = 2
_LOOK_S = 0.1
# A worker that computed for this part of a look is at work.
_BUSY = 0.5

LossKind = Literal["notice", "kill"]


@dataclass(frozen=True)
class ScenarioTimes:
    """calm_s: before the first event, and after each. notice_s: from a notice to the node's end."""

    calm_s: float
    notice_s: float


class Scenario:
    """clouds: by spot node's id, what its watcher asks. say: is told what happens. Times are the observer's."""

    def __init__(
        self,
        fleet: Fleet,
        clouds: Mapping[str, MetadataServer],
        observer: PlacementObserver,
        client: Client,
        say: Callable[[str], None],
    ) -> None:
        self._fleet = fleet
        self._clouds = clouds
        self._observer = observer
        self._client = client
        self._tell = say
        self._clock = observer.clock

    async def run(self, times: ScenarioTimes) -> list[NodeLoss]:
        """Returns the events once all jobs are here."""
        first, second = self._fleet.of("gpu_batch")
        await asyncio.sleep(times.calm_s)
        return [await self._lose_node(first, "notice", times), await self._lose_node(second, "kill", times)]

    async def _lose_node(self, node: Node, how: LossKind, times: ScenarioTimes) -> NodeLoss:
        """Spot nodes have all they can do from before the event until what it disturbed is mended."""
        enough = asyncio.Event()
        asking = asyncio.create_task(self._client.keep_busy(enough))
        try:
            at_s, (gone_s, drained), whole_s = await self._take(node, how, times.notice_s)
            enough.set()
            await asking
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        await asyncio.sleep(times.calm_s)
        return NodeLoss(how, at_s, gone_s, whole_s, self._clock(), drained)

    async def _take(self, node: Node, how: LossKind, notice_s: float) -> tuple[float, tuple[float, bool], float]:
        """When the event was, what `_gone` says, and when there were as many workers again."""
        await self._until_at_work(node)
        before, at_s = self._client.num_resumed, self._clock()
        if how == "notice":
            self._clouds[node.node_id].interrupt("terminate", in_s=notice_s)
            self._say(f"notice for spot node {node.node_id[:8]}: the cloud takes it in {notice_s:g} s")
        else:
            node.kill()
            self._say(f"spot node {node.node_id[:8]} is killed, without notice")
        deadline_s = at_s + notice_s if how == "notice" else None
        gone, whole_s = await asyncio.gather(self._gone(node, deadline_s), self._whole(node))
        self._say(f"  {WORKERS} batch workers again after {whole_s - at_s:.1f} s")
        self._say(f"  {self._client.num_resumed - before} clips lost their worker by it, and go on with another")
        return at_s, gone, whole_s

    async def _gone(self, node: Node, deadline_s: float | None) -> tuple[float, bool]:
        """When nothing is left of it, and whether it was drained: by the deadline, at which the cloud takes it. None:
        it was not told to go.
        """
        drained = deadline_s is not None
        while alive(node.raylet):
            if drained and deadline_s is not None and self._clock() >= deadline_s:
                drained = False
                self._say(f"  its time is over: spot node {node.node_id[:8]} is killed")
                node.kill()
            await asyncio.sleep(_LOOK_S)
        gone_s = self._clock()
        self._say(f"  spot node {node.node_id[:8]} is {'drained and ' if drained else ''}gone")
        return gone_s, drained

    async def _whole(self, node: Node) -> float:
        def is_whole(seen: Placement) -> bool:
            return node.node_id not in seen.batch_nodes and seen.of(BATCH) >= WORKERS

        return await self._observer.until(is_whole)

    async def _until_at_work(self, node: Node) -> None:
        """Until its worker computes, and more of the demonstration's own clips are being made than another worker has
        slots for: otherwise nothing that is compared afterwards would be lost with it.
        """
        worked_s = 0.0
        while worked_s < _BUSY * _LOOK_S or self._client.num_being_made <= (WORKERS - 1) * SLOTS:
            [worker] = node.replicas(BATCH)
            worked_s = await _worked(worker)

    def _say(self, text: str) -> None:
        self._tell(f"{self._clock():6.1f} s  {text}")


async def _worked(process: psutil.Process) -> float:
    """Seconds that a process computes in the time of a look."""
    before = process.cpu_times()
    await asyncio.sleep(_LOOK_S)
    after = process.cpu_times()
    return float(after.user + after.system - before.user - before.system)


def alive(process: psutil.Process) -> bool:
    """Whether it has not ended. A zombie has."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
