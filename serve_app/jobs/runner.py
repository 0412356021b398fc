"""Runs jobs: claims variations, and has each generated (`maker`).

The holder of a variation's lease generates it, and every write carries the lease's token: a holder that has lost the
lease without knowing changes nothing. When a process dies, the next one resumes from the codes that were saved.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection
from functools import partial

from deployments.liveness.stalls import within
from deployments.messages import QueueClass
from deployments.telemetry.metric import NOT_RECORDED, Recorder
from serve_app.database.job_table import AsyncJobTable, JobTable
from serve_app.database.lease_table import HeldLease
from serve_app.database.leases import Leases
from serve_app.errors import NotReady
from serve_app.job import QUEUE_CLASSES, VariationId
from serve_app.jobs.checkpoints import CheckpointWriter
from serve_app.jobs.job_metrics import JOB_BROKE
from serve_app.jobs.maker import Frames, JobHealthMeter, Maker, RetryPolicy
from serve_app.settings.application import JobsSettings
from serve_app.tasks import cancel_and_wait

# How often to look for jobs that other replicas accepted or abandoned.
_POLL_S = 1.0
_SWEEP_S = 60.0
# How long saving the last codes may take when this replica ends.
_LAST_SAVE_S = 1.0

_log = logging.getLogger("ray.serve.jobs")  # below Serve's own, whose files and format it shares


class Runner:
    """Claims variations and runs them.

    Args:
        table: of the jobs.
        leases: of the variations.
        frames: as `PipelineBackend.frames`.
        models: those that can generate here.
        settings: of jobs.
        health_meter: None: the sound's health is not measured.
        retry_policy: None: that of the settings.
        clock: seconds since 1970.
        recorder: counts attempts by their outcome.
    """

    def __init__(
        self,
        table: AsyncJobTable,
        leases: Leases,
        frames: Frames,
        models: Collection[str],
        settings: JobsSettings,
        *,
        health_meter: JobHealthMeter | None = None,
        retry_policy: RetryPolicy | None = None,
        clock: Callable[[], float] = time.time,
        recorder: Recorder = NOT_RECORDED,
    ) -> None:
        self._table = table
        self._leases = leases
        self._settings = settings
        self._clock = clock
        self._checkpoints = CheckpointWriter(lambda batch: table.run("save", lambda table: table.save(batch)))
        self._maker = Maker(
            table,
            leases,
            self._checkpoints,
            frames,
            models,
            retry_policy or RetryPolicy(settings),
            not_served_s=settings.max_backoff_s,
            health_meter=health_meter,
            recorder=recorder,
        )
        self._news = asyncio.Event()
        self._running: dict[asyncio.Task[None], QueueClass] = {}

    def __len__(self) -> int:
        return len(self._running)

    def num_running(self, queue: QueueClass) -> int:
        """Variations of one class that run here."""
        return sum(each == queue for each in self._running.values())

    def notify(self) -> None:
        """There may be a job to begin, or one to end."""
        self._news.set()
        self._checkpoints.notify()

    async def run(self) -> None:
        """Runs jobs until cancelled; running variations are then released, so that others can resume them at once."""
        background = [asyncio.create_task(self._checkpoints.run()), asyncio.create_task(self._sweep())]
        try:
            while True:
                self._news.clear()
                with contextlib.suppress(NotReady):  # `AsyncJobTable` has counted and logged it
                    await self._claim()
                with contextlib.suppress(asyncio.TimeoutError):
                    await within(self._news.wait(), _POLL_S)
        finally:
            with contextlib.suppress(asyncio.TimeoutError):
                await within(self._checkpoints.flush_all(), _LAST_SAVE_S)
            await cancel_and_wait(list(self._running))
            await cancel_and_wait(background)

    def _open_classes(self) -> list[QueueClass]:
        """The queue classes of which another variation may begin."""
        settings = self._settings
        if len(self._running) >= settings.max_running:
            return []
        num_batch = self.num_running("batch")
        batch_is_full = num_batch >= max(1, settings.max_running - settings.reserved)
        return [queue for queue in QUEUE_CLASSES if not (queue == "batch" and batch_is_full)]

    async def _claim(self) -> None:
        """Begins as many variations as there are free places."""
        begun = True
        while begun and (classes := self._open_classes()):
            begun = False
            free = self._settings.max_running - len(self._running)
            for each in await self._table.run("look", partial(JobTable.candidates, limit=free, classes=classes)):
                # A class whose places are full by now waits until one is free again.
                if self._open_classes() == classes and await self._begin(each):
                    begun = True

    async def _begin(self, variation: VariationId) -> bool:
        held = await self._leases.take(variation.lease_name)
        if not isinstance(held, HeldLease):
            return False
        try:
            begun = await self._table.run("begin", lambda table: table.begin(variation, held.lease.token))
        except BaseException:
            await self._leases.release(held.lease)
            raise
        if begun is None:
            await self._leases.release(held.lease)
            return False
        task = asyncio.create_task(self._maker.make(variation, held, begun))
        self._running[task] = begun.request.queue
        task.add_done_callback(partial(self._ended, variation))
        return True

    def _ended(self, variation: VariationId, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._news.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            JOB_BROKE.tell(_log, error, job=variation.job_id, variation=variation.number)

    async def _sweep(self) -> None:
        keep_s = self._settings.keep_s
        while keep_s is not None:
            with contextlib.suppress(NotReady):
                while await self._table.run("sweep", lambda table: table.sweep(self._clock() - keep_s)):
                    pass
            await asyncio.sleep(_SWEEP_S)
