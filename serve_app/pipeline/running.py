"""The generations under way in this replica: each is made once, by whoever holds its lease, for all who ask.

What a generation made outlives it in the cache, also when it failed or all have left: who asks next goes on from there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from deployments.language_model.errors import EngineFull, OtherEngine, OutOfMemory
from deployments.messages import QueueClass
from deployments.telemetry.metric import NOT_RECORDED, Recorder
from serve_app.cache.cache import Cache
from serve_app.cache.keys import Key, short_id
from serve_app.database.lease_table import Held
from serve_app.database.leases import LEASES_LOST, Keeper, Leases
from serve_app.errors import WorkerLostTwice
from serve_app.pipeline.generation import Generation
from serve_app.pipeline.generation_metrics import GENERATION_LEASE_LOST, EndedAs, record_generation
from serve_app.pipeline.subscribers import Ticket
from serve_app.scaling.policy import NOTHING_WAITS, Waiting
from serve_app.tasks import detached

# A request that kills is not tried again before somebody has had the time to look.
GIVEN_UP_S = 600.0
_MAX_GIVEN_UP = 1_000

_log = logging.getLogger("ray.serve.pipeline")


class LeaseLost(Exception):
    """Another replica may be making this generation by now: whoever listens asks there."""


@dataclass(frozen=True)
class _UnderWay:
    generation: Generation
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Generations:
    """cache: keeps what is made. leases: shared with all replicas that may be asked for the same."""

    def __init__(
        self,
        cache: Cache,
        leases: Leases,
        clock: Callable[[], float] = time.monotonic,
        *,
        recorder: Recorder = NOT_RECORDED,
    ) -> None:
        self._cache = cache
        self._leases = leases
        self._clock = clock
        self._recorder = recorder
        self._under_way: dict[str, _UnderWay] = {}
        self._given_up: OrderedDict[str, tuple[float, WorkerLostTwice]] = OrderedDict()
        self._tasks: dict[asyncio.Task[None], Generation] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    async def join(self, key: Key, num_frames: int, queue: QueueClass) -> Ticket | None:
        """A place at the generation of this key, if one is under way; waits for the end of one that can't be joined.

        queue: of who asks.

        Raises: WorkerLostTwice for one that was given up.
        """
        given_up = self._given_up.get(key.digest)
        if given_up is not None and self._clock() - given_up[0] < GIVEN_UP_S:
            raise given_up[1].with_traceback(None)
        under_way = self._under_way.get(key.digest)
        if under_way is None:
            return None
        ticket = under_way.generation.join(num_frames, queue)
        if ticket is not None:
            return ticket
        await under_way.ended.wait()
        return await self.join(key, num_frames, queue)

    def start(
        self,
        key: Key,
        generation: Generation,
        num_frames: int,
        *,
        leases: tuple[Held, ...] = (),
        frames_kept: int | None,
        joinable: bool = True,
        ended: Callable[[], None] = lambda: None,
    ) -> Ticket:
        """Sets a generation going, and gives the first place at it.

        leases: held, and released at the end. frames_kept: in the cache by now; None: nothing is to be kept. ended: is
        called when it is all over.
        """
        ticket = generation.join(num_frames, generation.queue)
        assert ticket is not None, "nobody can be too late for what has not begun"
        under_way = _UnderWay(generation)
        if joinable:
            self._under_way[key.digest] = under_way
        task = detached(self._conduct(key, under_way, leases, frames_kept, joinable, ended))
        self._tasks[task] = generation
        task.add_done_callback(self._tasks.pop)
        return ticket

    def waiting(self) -> dict[tuple[str, QueueClass], Waiting]:
        """Those that no engine has taken in, by model and queue class."""
        found: dict[tuple[str, QueueClass], Waiting] = {}
        for generation in self._tasks.values():
            if not generation.is_placed:
                place = generation.work.model, generation.queue
                found[place] = found.get(place, NOTHING_WAITS) + Waiting(1, generation.num_frames_left)
        return found

    async def settled(self) -> None:
        """Returns when nothing is under way."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def check_integrity(self) -> None:
        """Raises: AssertionError where something is under way that nobody conducts."""
        assert len(self._under_way) <= len(self._tasks), "a generation is left behind"

    async def _conduct(
        self,
        key: Key,
        under_way: _UnderWay,
        leases: tuple[Held, ...],
        frames_kept: int | None,
        joinable: bool,
        ended: Callable[[], None],
    ) -> None:
        generation = under_way.generation
        try:
            # Until the codes are kept: who asks then must find them where there is no generation to join any more.
            async with AsyncExitStack() as stack:
                keepers = [await stack.enter_async_context(self._leases.kept(held)) for held in leases]
                await self._run(generation, keepers)
                if isinstance(generation.error, WorkerLostTwice):
                    self._give_up(key, generation.error)
                if frames_kept is not None and generation.frames.number > frames_kept:
                    await self._cache.keep_codes(key, generation.frames.all(), generation.work.identity.numerics)
        finally:
            record_generation(self._recorder, generation.ended(_ended_as(generation)))
            generation.fail(LeaseLost("the replica was stopped"))
            if joinable:
                del self._under_way[key.digest]
            under_way.ended.set()
            ended()

    async def _run(self, generation: Generation, keepers: Sequence[Keeper]) -> None:
        """Until it has ended, or a lease is lost."""
        running = asyncio.create_task(generation.run())
        losing = [asyncio.create_task(keeper.until_lost()) for keeper in keepers]
        try:
            await asyncio.wait({running, *losing}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                GENERATION_LEASE_LOST.tell(_log, generation=short_id(generation.work.key))
                self._recorder.add(LEASES_LOST, kind="generation")
                generation.fail(LeaseLost("the lease was lost"))
        finally:
            for task in (running, *losing):
                task.cancel()
            await asyncio.gather(running, *losing, return_exceptions=True)

    def _give_up(self, key: Key, error: WorkerLostTwice) -> None:
        self._given_up[key.digest] = (self._clock(), error)
        self._given_up.move_to_end(key.digest)
        while len(self._given_up) > _MAX_GIVEN_UP:
            self._given_up.popitem(last=False)


def _ended_as(generation: Generation) -> EndedAs:
    if generation.is_made:
        return "made"
    kinds: dict[type[Exception], EndedAs] = {
        WorkerLostTwice: "given_up",
        LeaseLost: "lease_lost",
        EngineFull: "refused",
        OutOfMemory: "refused",
        OtherEngine: "refused",
    }
    if generation.error is None:
        return "left"
    return next((outcome for kind, outcome in kinds.items() if isinstance(generation.error, kind)), "failed")
