"""Makes jobs: claims a variation, has its codes made, and saves them as they grow.

Whoever holds the lease of a variation makes it, and every write names the lease's token: one who has lost it, and does
not know, changes nothing. Whatever process dies, the next one to claim goes on from the codes that were saved.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing
from functools import partial
from typing import Any

import numpy as np

from deployments.logs.catalogue import (
    JOB_BEGUN,
    JOB_BEGUN_AGAIN,
    JOB_BROKE,
    JOB_FAILED,
    JOB_LOST,
    JOB_MADE,
    JOB_PUT_OFF,
    JOB_TAKEN_OVER,
)
from deployments.messages import CodeFrames, GenerationStart, MusicRequest, QueueClass, Resumption
from deployments.metrics.catalogue import JOB_ATTEMPTS, LEASES_LOST
from deployments.metrics.recorder import NOT_RECORDED, Recorder
from deployments.patience import within
from serve_app.api.errors import NotReady, ServiceError, TooBusy, WorkerLostTwice
from serve_app.cache.keys import short_id
from serve_app.jobs.errors import Fenced
from serve_app.jobs.job import QUEUE_CLASSES, Fault
from serve_app.jobs.listener import Listener
from serve_app.jobs.records import JobRecords
from serve_app.jobs.retries import Retries
from serve_app.jobs.saver import Making, Saver
from serve_app.jobs.settings import JobsSettings
from serve_app.pipeline.pipeline import EngineGone
from serve_app.records.job_table import JobTable
from serve_app.records.lease import Held
from serve_app.records.leases import Leases
from serve_app.records.variation import Begun, VariationId

# How often one looks for jobs that other replicas took in, or left.
_LOOK_S = 1.0
# How often one that must be told to the records is told again.
_AGAIN_S = 1.0
_SWEEP_S = 60.0
# What saving the last codes may take when this replica ends.
_LAST_SAVE_S = 1.0

Frames = Callable[[MusicRequest, "Resumption | None"], AsyncGenerator["GenerationStart | CodeFrames", None]]

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
        self._frames = frames
        self._models = frozenset(models)
        self._settings = settings
        self._listener = listener
        self._retries = retries or Retries(settings)
        self._clock = clock
        self._recorder = recorder
        self._saver = Saver(lambda batch: records.ask("save", lambda table: table.save(batch)))
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
            await _ended(list(self._under_way))
            await _ended(beside)

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
        task = asyncio.create_task(self._conduct(variation, held, begun))
        self._under_way[task] = begun.request.queue
        task.add_done_callback(partial(self._over, variation))
        return True

    def _over(self, variation: VariationId, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self._news.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            JOB_BROKE.tell(_log, error, job=variation.job_id, variation=variation.number)

    async def _conduct(self, variation: VariationId, held: Held, begun: Begun) -> None:
        """Makes it, and tells the records how that ended, under the lease; stops where that is lost."""
        making = Making(variation, held.lease.token)
        async with self._leases.kept(held) as keeper:
            with self._saver.saving(making):
                at_work = asyncio.create_task(self._make(making, begun))
                losing = [asyncio.create_task(keeper.until_lost()), asyncio.create_task(making.fenced.wait())]
                try:
                    await asyncio.wait({at_work, *losing}, return_when=asyncio.FIRST_COMPLETED)
                    if not at_work.done():
                        JOB_LOST.tell(_log, job=variation.job_id, variation=variation.number)
                        if keeper.lost:
                            self._recorder.add(LEASES_LOST, kind="job")
                finally:
                    await _ended(losing)
                    await _ended([at_work])
                outcome = "lost" if at_work.cancelled() else at_work.result()
                self._recorder.add(JOB_ATTEMPTS, queue=begun.request.queue, outcome=outcome)

    async def _make(self, making: Making, begun: Begun) -> str:
        """Returns what became of it, as JOB_ATTEMPTS has it."""
        variation, token = making.variation, making.token
        at = 0 if begun.resumption is None else begun.resumption.codes.shape[1]
        JOB_BEGUN.tell(
            _log,
            job=variation.job_id,
            variation=variation.number,
            attempt=begun.attempts,
            frame=at,
            num_frames=begun.num_frames,
            request_id=begun.request.request_id,
        )
        try:
            made = await self._save_frames(making, begun, at)
            health = None
            if self._listener is not None:
                health = await self._listener.health(variation, begun.request, made)
            if await self._end(variation, lambda table: table.succeed(variation, token, health)):
                named = short_id(made.start.key)
                JOB_MADE.tell(_log, job=variation.job_id, variation=variation.number, generation=named)
                if self._listener is not None:
                    self._listener.tell(begun.request, made, health)
                return "made"
            return "lost"
        except EngineGone:
            JOB_BEGUN_AGAIN.tell(_log, job=variation.job_id, variation=variation.number)
            await self._end(variation, lambda table: table.start_over(variation, token))
            return "begun_again"
        except (TooBusy, NotReady) as error:
            await self._put_off(making, self._retries.aside_s(error.retry_after_s), error, failed=False)
            return "put_off"
        except WorkerLostTwice as error:
            await self._fail(making, error)  # it is what kills them
            return "failed"
        except Exception as error:  # noqa: BLE001 - whatever it is, there is another attempt, or it is told as a fault
            if self._retries.is_over(begun.attempts):
                await self._fail(making, error)
                return "failed"
            await self._put_off(making, self._retries.after_failure_s(begun.attempts), error, failed=True)
            return "put_off"

    async def _save_frames(self, making: Making, begun: Begun, at: int) -> Resumption:
        """Has all that are missing made; then these are all. Raises: what making them raises, when what came before is
        saved.
        """
        if begun.request.model not in self._models:
            raise NotReady("The model is not served here.", retry_after_s=self._settings.max_backoff_s)
        failure = None
        start = None if begun.resumption is None else begun.resumption.start
        parts = [] if begun.resumption is None or at == 0 else [begun.resumption.codes]
        try:
            if at < begun.num_frames:
                async with aclosing(self._frames(begun.request, begun.resumption)) as items:
                    async for item in items:
                        making.add(item)
                        self._saver.has_news()
                        if isinstance(item, GenerationStart):
                            start = item
                        else:
                            parts.append(item.codes)
        except Exception as error:  # noqa: BLE001 - raised below
            failure = error
        await self._saver.flush(making)
        if failure is not None:
            raise failure
        assert start is not None, "what has frames has a start"
        return Resumption(start, np.concatenate(parts, axis=1))

    async def _put_off(self, making: Making, delay_s: float, error: Exception, *, failed: bool) -> None:
        variation, token = making.variation, making.token
        JOB_PUT_OFF.tell(_log, job=variation.job_id, variation=variation.number, delay_s=delay_s, reason=_said(error))
        await self._end(variation, lambda table: table.put_off(variation, token, delay_s, failed=failed))

    async def _fail(self, making: Making, error: Exception) -> None:
        variation, token = making.variation, making.token
        if isinstance(error, ServiceError):
            fault = Fault(error.type, error.message)
        else:
            fault = Fault("internal", "The service failed again and again; the job's id finds the cause in its log.")
        JOB_FAILED.tell(_log, error, job=variation.job_id, variation=variation.number, reason=_said(error))
        await self._end(variation, lambda table: table.fail(variation, token, fault))

    async def _end(self, variation: VariationId, call: Callable[[JobTable], None]) -> bool:
        """Tells the records how it ended, again and again while they can't be reached; whether they took it."""
        while True:
            try:
                await self._records.ask("end", call)
            except NotReady:
                await asyncio.sleep(_AGAIN_S)
            except Fenced:
                JOB_TAKEN_OVER.tell(_log, job=variation.job_id, variation=variation.number)
                return False
            else:
                return True

    async def _sweep(self) -> None:
        keep_s = self._settings.keep_s
        while keep_s is not None:
            with contextlib.suppress(NotReady):
                while await self._records.ask("sweep", lambda table: table.sweep(self._clock() - keep_s)):
                    pass
            await asyncio.sleep(_SWEEP_S)


async def _ended(tasks: Collection[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _said(error: Exception) -> str:
    """Without what a client sent: only our own errors' messages are known to be free of it."""
    return error.message if isinstance(error, ServiceError) else type(error).__name__
