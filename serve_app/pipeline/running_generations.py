"""The generations that run in this pipeline replica: each is made once, by whoever holds its lease, for all requests.

What a generation made stays in the cache, also when it failed or all subscribers left: the next request resumes it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from deployments.language_model.errors import EngineFull, EngineMismatch, OutOfMemory
from deployments.messages import QueueClass
from deployments.telemetry.metric import NOT_RECORDED, Recorder
from serve_app.cache.cache import Cache
from serve_app.cache.keys import Key, short_id
from serve_app.database.lease_table import HeldLease
from serve_app.database.leases import LEASES_LOST, LeaseRenewer, Leases
from serve_app.errors import WorkerLostTwice
from serve_app.pipeline.generation import Generation
from serve_app.pipeline.generation_metrics import GENERATION_LEASE_LOST, GenerationOutcome, record_generation
from serve_app.pipeline.subscribers import Subscription
from serve_app.scaling.policy import NOTHING_WAITS, Waiting
from serve_app.tasks import detached

# A request that kills workers is refused for so long, so that somebody has time to look.
GIVEN_UP_S = 600.0
_MAX_GIVEN_UP = 1_000

_log = logging.getLogger("ray.serve.pipeline")


class LeaseLost(Exception):
    """Another replica may be making this generation by now; subscribers ask there."""


@dataclass(frozen=True)
class _Running:
    generation: Generation
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class RunningGenerations:
    """Runs generations, and lets requests join them.

    Args:
        cache: keeps what is made.
        leases: shared with all pipeline replicas that use the same cache.
        clock: in seconds, monotonic.
        recorder: of the metrics.
    """

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
        self._joinable: dict[str, _Running] = {}
        self._given_up: OrderedDict[str, tuple[float, WorkerLostTwice]] = OrderedDict()
        self._tasks: dict[asyncio.Task[None], Generation] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    async def join(self, key: Key, num_frames: int, queue: QueueClass) -> Subscription | None:
        """Subscribes to the generation of this key. Returns None if none runs here.

        Where one is about to end and cannot be joined, its end is waited for. queue: of the request.
        Raises: WorkerLostTwice for one that was given up.
        """
        given_up = self._given_up.get(key.digest)
        if given_up is not None and self._clock() - given_up[0] < GIVEN_UP_S:
            raise given_up[1].with_traceback(None)
        running = self._joinable.get(key.digest)
        if running is None:
            return None
        subscription = running.generation.join(num_frames, queue)
        if subscription is not None:
            return subscription
        await running.ended.wait()
        return await self.join(key, num_frames, queue)

    def start(
        self,
        key: Key,
        generation: Generation,
        num_frames: int,
        *,
        leases: tuple[HeldLease, ...] = (),
        num_cached_frames: int | None,
        joinable: bool = True,
        ended: Callable[[], None] = lambda: None,
    ) -> Subscription:
        """Starts a generation, and returns its first subscription.

        Args:
            key: the generation's.
            generation: one that has not run yet.
            num_frames: that the first subscriber wants.
            leases: held; they are renewed while it runs, and released at its end.
            num_cached_frames: frames that the cache has of it; None if nothing is to be cached.
            joinable: whether other requests may join it.
            ended: called when it is over, and cached.
        """
        subscription = generation.join(num_frames, generation.queue)
        assert subscription is not None, "a generation that has not begun can be joined"
        running = _Running(generation)
        if joinable:
            self._joinable[key.digest] = running
        task = detached(self._supervise(key, running, leases, num_cached_frames, joinable, ended))
        self._tasks[task] = generation
        task.add_done_callback(self._tasks.pop)
        return subscription

    def waiting(self) -> dict[tuple[str, QueueClass], Waiting]:
        """Generations that no engine has accepted yet, by model and queue class."""
        found: dict[tuple[str, QueueClass], Waiting] = {}
        for generation in self._tasks.values():
            if not generation.is_placed:
                place = generation.work.model, generation.queue
                found[place] = found.get(place, NOTHING_WAITS) + Waiting(1, generation.num_frames_left)
        return found

    async def settled(self) -> None:
        """Returns when no generation runs."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def check_integrity(self) -> None:
        """Raises: AssertionError where a generation is listed that no task runs."""
        assert len(self._joinable) <= len(self._tasks), "a generation is left behind"

    async def _supervise(
        self,
        key: Key,
        running: _Running,
        leases: tuple[HeldLease, ...],
        num_cached_frames: int | None,
        joinable: bool,
        ended: Callable[[], None],
    ) -> None:
        generation = running.generation
        try:
            # The leases are held until the codes are cached: a request that finds no generation to join finds those.
            async with AsyncExitStack() as stack:
                renewers = [await stack.enter_async_context(self._leases.renewing(held)) for held in leases]
                await self._run(generation, renewers)
                if isinstance(generation.error, WorkerLostTwice):
                    self._refuse(key, generation.error)
                if num_cached_frames is not None and generation.frames.num_frames > num_cached_frames:
                    await self._cache.keep_codes(key, generation.frames.codes(), generation.work.identity.numerics)
        finally:
            record_generation(self._recorder, generation.summary(_outcome(generation)))
            generation.fail(LeaseLost("the replica was stopped"))
            if joinable:
                del self._joinable[key.digest]
            running.ended.set()
            ended()

    async def _run(self, generation: Generation, renewers: Sequence[LeaseRenewer]) -> None:
        """Runs it until it has ended, or a lease is lost."""
        running = asyncio.create_task(generation.run())
        losses = [asyncio.create_task(renewer.wait_until_lost()) for renewer in renewers]
        try:
            await asyncio.wait({running, *losses}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                GENERATION_LEASE_LOST.tell(_log, generation=short_id(generation.work.key))
                self._recorder.add(LEASES_LOST, kind="generation")
                generation.fail(LeaseLost("the lease was lost"))
        finally:
            for task in (running, *losses):
                task.cancel()
            await asyncio.gather(running, *losses, return_exceptions=True)

    def _refuse(self, key: Key, error: WorkerLostTwice) -> None:
        self._given_up[key.digest] = (self._clock(), error)
        self._given_up.move_to_end(key.digest)
        while len(self._given_up) > _MAX_GIVEN_UP:
            self._given_up.popitem(last=False)


def _outcome(generation: Generation) -> GenerationOutcome:
    if generation.is_made:
        return "made"
    kinds: dict[type[Exception], GenerationOutcome] = {
        WorkerLostTwice: "given_up",
        LeaseLost: "lease_lost",
        EngineFull: "refused",
        OutOfMemory: "refused",
        EngineMismatch: "refused",
    }
    if generation.error is None:
        return "left"
    return next((outcome for kind, outcome in kinds.items() if isinstance(generation.error, kind)), "failed")
