"""Pipelines as replicas that share a cache and leases, in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deployments.messages import CacheMode, CodeFrames, GenerationStart, MusicRequest, Resumption, Sampling
from serve_app.cache.cache import Cache, RecentEntries, drawn_seed
from serve_app.database.engines import open_leases
from serve_app.faults import Faults
from serve_app.pipeline.finder import PipelineModel
from serve_app.pipeline.pipeline import Pipeline
from serve_app.pipeline.workers import RetryTurns
from serve_app.settings.model import Deadline
from serve_app.settings.storage import DatabaseSettings
from serve_app.sound.resuming import PipelineItem, PipelineLost
from serve_app.stores.circuit_breaker import GuardedStore
from serve_app.stores.store import BlockingStore
from serve_app.stores.threads import ThreadedStore
from tests.serve_app.cache.cached import Clock
from tests.serve_app.pipeline.scripted_stages import SOUND, ScriptedStages, codes_of

MODEL = "scripted"


def request(
    seed: int | None = 1, num_frames: int = 100, cache: CacheMode = "use", prompt: str = "a tone"
) -> MusicRequest:
    return MusicRequest("id", MODEL, prompt, num_frames * 1000 // SOUND.frame_rate, seed, Sampling(), cache)


@dataclass
class Received:
    """What one caller received."""

    start: GenerationStart | None = None
    codes: np.ndarray = field(default_factory=lambda: np.zeros((4, 0), np.int16))

    @property
    def outcome(self) -> str:
        assert self.start is not None
        return self.start.outcome

    @property
    def seed(self) -> int:
        assert self.start is not None
        return self.start.seed

    def check(self, num_frames: int) -> None:
        """The codes are those of an undisturbed run."""
        assert np.array_equal(self.codes, codes_of(self.seed, num_frames))


async def receive(pipeline: Pipeline, request: MusicRequest, resumption: Resumption | None = None) -> Received:
    async with aclosing(pipeline.stream(request, resumption)) as items:
        return await collect(items)


async def collect(items: AsyncGenerator[PipelineItem, None]) -> Received:
    received = Received()
    async for item in items:
        if isinstance(item, GenerationStart):
            assert received.start is None
            received.start = item
        elif isinstance(item, CodeFrames):
            assert received.start is not None, "the start comes before the frames"
            received.codes = np.concatenate([received.codes, item.codes], axis=1)
    return received


@dataclass
class Replicas:
    """stages: of the one model that all have."""

    stages: ScriptedStages
    pipelines: Sequence[Pipeline]
    caches: Sequence[Cache]
    clock: Clock
    stopped: set[int] = field(default_factory=set)

    async def settled(self) -> None:
        for pipeline in self.pipelines:
            await pipeline.settled()
            assert pipeline.load() == 0
        for cache in self.caches:
            await cache.settled()
        assert self.stages.num_running == 0

    @property
    def num_made(self) -> int:
        return sum(self.stages.made.values())

    async def calling(
        self, number: int, request: MusicRequest, resumption: Resumption | None
    ) -> AsyncGenerator[PipelineItem, None]:
        """A call as through a handle, to a replica that may be lost."""
        async with aclosing(self.pipelines[number].stream(request, resumption)) as items:
            async for item in items:
                if number in self.stopped:
                    raise PipelineLost("killed")
                yield item


@asynccontextmanager
async def replicas(
    folder: Path,
    store: BlockingStore,
    stages: ScriptedStages,
    number: int = 2,
    *,
    draw: Callable[[], int] = drawn_seed,
    ttl_s: float | None = 1000.0,
    memory_bytes: int = 0,
    lease_s: float = 15.0,
) -> AsyncIterator[Replicas]:
    """They end with the block, and nothing of theirs is left."""
    clock = Clock()
    settings = DatabaseSettings(url=f"sqlite:///{folder}/leases.sqlite", lease_s=lease_s, timeout_s=min(2, lease_s / 3))
    pipelines, caches = [], []
    async with AsyncExitStack() as stack:
        for _ in range(number):
            faults = Faults(clock)
            threaded = ThreadedStore(store, num_threads=2, read_timeout_s=30, write_timeout_s=30)
            cache = Cache(
                GuardedStore(threaded, faults), RecentEntries(memory_bytes), faults, ttl_s=ttl_s, clock=clock, draw=draw
            )
            leases = open_leases(settings)
            stack.push_async_callback(leases.close)
            stack.push_async_callback(cache.close)
            caches.append(cache)
            model = PipelineModel(stages, Deadline(), RetryTurns(MODEL, leases))
            pipelines.append(Pipeline({MODEL: model}, cache, leases, draw=draw))
        all_of_them = Replicas(stages, pipelines, caches, clock)
        try:
            yield all_of_them
        finally:
            await asyncio.wait_for(all_of_them.settled(), 30)
