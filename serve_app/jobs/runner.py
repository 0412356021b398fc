"""Makes jobs: claims a variation, and has it made (`maker`).

Whoever holds the lease of a variation makes it, and every write names the lease's token: one who has lost it, and does
not know, changes nothing. Whatever process dies, the next one to claim goes on from the codes that were saved.
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
from serve_app.database.job_table import JobRecords, JobTable
from serve_app.database.lease_table import Held
from serve_app.database.leases import Leases
from serve_app.errors import NotReady
from serve_app.job import QUEUE_CLASSES, VariationId
from serve_app.jobs.checkpoints import Saver
from serve_app.jobs.job_metrics import JOB_BROKE
from serve_app.jobs.maker import Frames, Listener, Maker, Retries
from serve_app.settings.application import JobsSettings
from serve_app.tasks import ended

# How often one looks for jobs that other replicas took in, or left.
_LOOK_S = 1.0
_SWEEP_S = 60.0
# What saving the last codes may take when this replica ends.
_LAST_SAVE_S = 1.0

_log = logging.getLogger("ray.serve.jobs")  # below Serve's own, whose files and format it shares


class Runner:
    """frames: as `PipelineBackend.frames`. models: those that can be made here. listener: None: nothing is listened to.
    clock: seconds since 1970. recorder: of what becomes of attempts.
    """

    def __init__(
        self,
        records: JobRecords,
        leases: Leases,
        frames: Frames,
        models: Collection[str],
        settings: JobsSettings,
        *,
        listener: Listener | None = None,
        retries: Retries | None = None,
        clock: Callable[[], float] = time.time,
        recorder: Recorder = NOT_RECORDED,
    ) -> None:
        self._records = records
        self._leases = leases
        self._settings = settings
        self._clock = clock
        self._saver = Saver(lambda batch: records.ask("save", lambda table: table.save(batch)))
        self._maker = Maker(
            records,
            leases,
            self._saver,
            frames,
            models,
            retries or Retries(settings),
            not_served_s=settings.max_backoff_s,
            listener=listener,
            recorder=recorder,
        )
        self._news = asyncio.Event()
        self._under_way: dict[asyncio.Task[None], QueueClass] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def num_under_way(self, queue: QueueClass) -> int:
        """Of one class."""
        return sum(each == queue for each in self._under_way.values())

    def has_news(self) -> None:
        """There may be a job to begin, or one to end."""
        self._news.set()
        self._saver.has_news()

    async def run(self) -> None:
        """Until cancelled; what is under way is then given back, for others to go on with at once."""
        beside = [asyncio.create_task(self._saver.run()), asyncio.create_task(self._sweep())]
        try:
            while True:
                self._news.clear()
                with contextlib.suppress(NotReady):  # counted and logged where it was found out
                    await self._claim()
                with contextlib.suppress(asyncio.TimeoutError):
                    await within(self._news.wait(), _LOOK_S)
        finally:
            with contextlib.suppress(asyncio.TimeoutError):
                await within(self._saver.flush_all(), _LAST_SAVE_S)
            await ended(list(self._under_way))
            await ended(beside)

    def _open_classes(self) -> list[QueueClass]:
        """Of which another one may begin."""
        settings = self._settings
        if len(self._under_way) >= settings.max_running:
            return []
        num_batch = self.num_under_way("batch")
        batch_is_full = num_batch >= max(1, settings.max_running - settings.reserved)
        return [queue for queue in QUEUE_CLASSES if not (queue == "batch" and batch_is_full)]

    async def _claim(self) -> None:
        """Begins as many as there are places for."""
        begun = True
        while begun and (classes := self._open_classes()):
            begun = False
            free = self._settings.max_running - len(self._under_way)
            for each in await self._records.ask("look", partial(JobTable.candidates, limit=free, classes=classes)):
                # A class whose places are taken by now has its turn when one is free again.
                if self._open_classes() == classes and await self._take(each):
                    begun = True

    async def _take(self, variation: VariationId) -> bool:
        held = await self._leases.take(variation.lease_name)
        if not isinstance(held, Held):
            return False
        try:
            begun = await self._records.ask("begin", lambda table: table.begin(variation, held.lease.token))
        except BaseException:
            await self._leases.release(held.lease)
            raise
        if begun is None:
            await self._leases.release(held.lease)
            return False
        task = asyncio.create_task(self._maker.make(variation, held, begun))
        self._under_way[task] = begun.request.queue
        task.add_done_callback(partial(self._over, variation))
        return True

    def _over(self, variation: VariationId, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self._news.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            JOB_BROKE.tell(_log, error, job=variation.job_id, variation=variation.number)

    async def _sweep(self) -> None:
        keep_s = self._settings.keep_s
        while keep_s is not None:
            with contextlib.suppress(NotReady):
                while await self._records.ask("sweep", lambda table: table.sweep(self._clock() - keep_s)):
                    pass
            await asyncio.sleep(_SWEEP_S)
