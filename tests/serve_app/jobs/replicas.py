"""Replicas that run jobs from one SQLite file, in virtual time; each can be lost like a process that is killed."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from sqlalchemy import Connection

from deployments.messages import CodeFrames, GenerationStart, MusicRequest, Resumption
from serve_app.database.engines import SqliteDatabase
from serve_app.database.job_table import AsyncJobTable, JobTable
from serve_app.database.lease_table import ClockReading, LeaseTable
from serve_app.database.leases import Leases
from serve_app.faults import Faults
from serve_app.jobs.maker import JobHealthMeter, RetryPolicy
from serve_app.jobs.runner import Runner
from serve_app.jobs.service import Jobs
from serve_app.settings.application import JobsSettings
from serve_app.stores.store import StoreUnreachable
from serve_app.stores.threads import ThreadPool
from tests.serve_app.jobs.examples import FRAMES, IDENTITY
from tests.serve_app.pipeline.scripted_stages import codes_of

LEASE_S = 15.0
CHUNK = 50
CHUNK_S = 0.2

Result = TypeVar("Result")


class InlineThreads(ThreadPool):
    """Calls at once, in no thread. is_down: the database can't be reached. lost: whoever asks is no more."""

    def __init__(self) -> None:
        super().__init__(1, "inline")
        self.is_down = False
        self.lost = False

    async def run(
        self, call: Callable[[], Result], timeout_s: float, undo: Callable[[Result], None] = lambda _: None
    ) -> Result:
        if self.lost:
            await asyncio.Event().wait()
        if self.is_down:
            raise StoreUnreachable("the database is down")
        return call()


class Model:
    """Makes codes at a steady pace. fates: by seed, how its attempts fail, one after the other: an error at a
    frame. made: how often each frame was, by seed.
    """

    def __init__(self) -> None:
        self.fates: dict[int, list[tuple[int, Exception]]] = {}
        self.made: dict[int, Counter[int]] = {}
        self.under_way = 0
        self.most_at_once = 0

    async def frames(
        self, request: MusicRequest, resumption: Resumption | None
    ) -> AsyncGenerator[GenerationStart | CodeFrames, None]:
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            seed = 424_242 if request.seed is None else request.seed
            if resumption is not None:
                seed = resumption.start.seed
            fates = self.fates.get(seed, [])
            at, error = fates.pop(0) if fates else (FRAMES + 1, None)
            first = 0 if resumption is None else resumption.codes.shape[1]
            if resumption is None:
                states = np.arange(12, dtype=np.float32).reshape(3, 4)
                yield GenerationStart(f"{seed:064x}", seed, "miss", IDENTITY, text_states=states)
            for start in range(first, FRAMES, CHUNK):
                await asyncio.sleep(CHUNK_S)
                end = min(start + CHUNK, FRAMES)
                if error is not None and at < end:
                    raise error
                self.made.setdefault(seed, Counter()).update(range(start, end))
                yield CodeFrames("r", start, codes_of(seed, end)[:, start:], end == FRAMES)
        finally:
            self.under_way -= 1


class Cluster:
    """Replicas of one application, on a loop of virtual time. database, health_meter: shared by all."""

    def __init__(self, file: Path, settings: JobsSettings | None = None, health_meter: JobHealthMeter | None = None) -> None:
        self.settings = settings or JobsSettings()
        self._health_meter = health_meter
        self.model = Model()
        self._loop = asyncio.get_running_loop()
        self.database = SqliteDatabase(file, timeout_s=5, max_connections=1)
        self.table = JobTable(self.database, clock=self._moment, wall=self._loop.time)
        self.threads: list[InlineThreads] = []
        self._running: list[asyncio.Task[None]] = []
        self.runners: list[Runner] = []
        self.jobs: list[Jobs] = []

    def start(self) -> int:
        """The number of a new replica."""
        threads, faults = InlineThreads(), Faults(self._loop.time, logging.getLogger("tests.jobs"))
        table = AsyncJobTable(self.table, threads, faults, timeout_s=1)
        leases = Leases(
            LeaseTable(self.database, lease_s=LEASE_S, clock=self._moment),
            threads,
            faults,
            holder=f"replica {len(self.runners)}",
            timeout_s=1,
            clock=self._loop.time,
            jitter=lambda: 0.5,
        )
        retry_policy = RetryPolicy(self.settings, jitter=lambda: 0.5)
        runner = Runner(
            table,
            leases,
            self.model.frames,
            {"tiny"},
            self.settings,
            health_meter=self._health_meter,
            retry_policy=retry_policy,
            clock=self._loop.time,
        )
        self.threads.append(threads)
        self.runners.append(runner)
        self.jobs.append(Jobs(table, max_queued=self.settings.max_queued, changed=runner.notify))
        self._running.append(asyncio.create_task(runner.run()))
        return len(self.runners) - 1

    def kill(self, number: int) -> None:
        """It does nothing more, also not give anything back."""
        self.threads[number].lost = True
        for task in (*self.runners[number]._running, self._running[number]):
            task.cancel()

    async def stop(self, number: int) -> None:
        """As Serve does: it ends in its own time."""
        self._running[number].cancel()
        await asyncio.gather(self._running[number], return_exceptions=True)

    def set_down(self, is_down: bool) -> None:
        for threads in self.threads:
            threads.is_down = is_down

    def close(self) -> None:
        self.database.close()

    def _moment(self, _: Connection) -> ClockReading:
        return ClockReading(self._loop.time(), "")
