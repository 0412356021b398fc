"""Makes one variation of a job under its lease: has its codes made, saves them as they grow, and tells how it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing

import numpy as np

from deployments.logs.catalogue import (
    JOB_BEGUN,
    JOB_BEGUN_AGAIN,
    JOB_FAILED,
    JOB_LOST,
    JOB_MADE,
    JOB_PUT_OFF,
    JOB_TAKEN_OVER,
)
from deployments.messages import CodeFrames, GenerationStart, MusicRequest, Resumption
from deployments.metrics.catalogue import JOB_ATTEMPTS, LEASES_LOST
from deployments.metrics.recorder import Recorder
from serve_app.api.errors import NotReady, ServiceError, TooBusy, WorkerLostTwice
from serve_app.cache.keys import short_id
from serve_app.jobs.ending import ended
from serve_app.jobs.errors import Fenced
from serve_app.jobs.job import Fault
from serve_app.jobs.listener import Listener
from serve_app.jobs.records import JobRecords
from serve_app.jobs.retries import Retries
from serve_app.jobs.saver import Making, Saver
from serve_app.pipeline.pipeline import EngineGone
from serve_app.records.job_table import JobTable
from serve_app.records.lease import Held
from serve_app.records.leases import Leases
from serve_app.records.variation import Begun, VariationId

# How often one that must be told to the records is told again.
_AGAIN_S = 1.0

Frames = Callable[[MusicRequest, "Resumption | None"], AsyncGenerator["GenerationStart | CodeFrames", None]]

_log = logging.getLogger("ray.serve.jobs")  # below Serve's own, whose files and format it shares


class Maker:
    """frames, models, listener, recorder: as `Runner` takes them. not_served_s: for how long a job is put off whose
    model can't be made here.
    """

    def __init__(
        self,
        records: JobRecords,
        leases: Leases,
        saver: Saver,
        frames: Frames,
        models: Collection[str],
        retries: Retries,
        *,
        not_served_s: float,
        listener: Listener | None,
        recorder: Recorder,
    ) -> None:
        self._records = records
        self._leases = leases
        self._saver = saver
        self._frames = frames
        self._models = frozenset(models)
        self._retries = retries
        self._not_served_s = not_served_s
        self._listener = listener
        self._recorder = recorder

    async def make(self, variation: VariationId, held: Held, begun: Begun) -> None:
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
                    await ended(losing)
                    await ended([at_work])
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
            raise NotReady("The model is not served here.", retry_after_s=self._not_served_s)
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


def _said(error: Exception) -> str:
    """Without what a client sent: only our own errors' messages are known to be free of it."""
    return error.message if isinstance(error, ServiceError) else type(error).__name__
