"""How long a variation that could not be made waits for its next attempt.

How a job's sound is, found out before anybody fetches it.

Nobody may ever fetch it, and who does wants to know before; and where the sound is kept from another request, fetching
decodes nothing. So it is decoded once when its codes are whole. Whoever fetches it soon after from the same replica
gets the windows that were decoded then (see `SharedWindows`).

Makes one variation of a job under its lease: has its codes made, saves them as they grow, and tells how it ended.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np

from deployments.liveness.stalls import within
from deployments.messages import CodeFrames, GenerationStart, MusicRequest, Resumption
from deployments.telemetry.metric import Recorder
from serve_app.cache.keys import short_id
from serve_app.database.job_table import JobRecords, JobTable
from serve_app.database.lease_table import Held
from serve_app.database.leases import LEASES_LOST, Leases
from serve_app.errors import NotReady, ServiceError, TooBusy, WorkerLostTwice
from serve_app.job import Begun, Fault, Fenced, SoundHealth, VariationId
from serve_app.jobs.checkpoints import Making, Saver
from serve_app.jobs.job_metrics import (
    JOB_ATTEMPTS,
    JOB_BEGUN,
    JOB_BEGUN_AGAIN,
    JOB_FAILED,
    JOB_LOST,
    JOB_MADE,
    JOB_PUT_OFF,
    JOB_TAKEN_OVER,
    JOB_UNHEARD,
)
from serve_app.pipeline.pipeline import EngineGone
from serve_app.settings.application import JobsSettings
from serve_app.sound.health_reports import UNRECORDED, SoundRecorder, is_new, tell_sound_made
from serve_app.tasks import ended

# Where no place is free, or no worker: the job has done nothing wrong, and stands aside for a moment.
_ASIDE_S = 1.0


@dataclass(frozen=True)
class Retries:
    """jitter: in [0, 1), so that what failed together does not come back together."""

    settings: JobsSettings
    jitter: Callable[[], float] = random.random

    def is_over(self, attempts: int) -> bool:
        """Whether there are no more."""
        return attempts >= self.settings.max_attempts

    def after_failure_s(self, attempts: int) -> float:
        """Doubled with every attempt, within bounds, and then somewhere between half of it and all."""
        whole_s = min(self.settings.backoff_s * 2.0 ** (attempts - 1), self.settings.max_backoff_s)
        return whole_s * (1 + self.jitter()) / 2

    def aside_s(self, retry_after_s: float | None) -> float:
        """As long as was asked for, or a moment."""
        return (retry_after_s or _ASIDE_S) * (1 + self.jitter()) / 2


# The music is there: nobody waits longer than this to be told how it sounds.
PATIENCE_S = 120.0

Hear = Callable[[MusicRequest, Resumption], Awaitable[SoundHealth]]

_log = logging.getLogger("ray.serve.jobs")  # below Serve's own, whose files and format it shares


class Listener:
    """hear: as `PipelineBackend.hear`. recorder: of what jobs make."""

    def __init__(self, hear: Hear, recorder: SoundRecorder = UNRECORDED) -> None:
        self._hear = hear
        self._recorder = recorder

    async def health(self, variation: VariationId, request: MusicRequest, made: Resumption) -> SoundHealth | None:
        """made: all codes. None where it can't be decoded now: the music is there all the same.

        Raises: what is wrong with the codes or the codec themselves.
        """
        try:
            return await within(self._hear(request, made), PATIENCE_S)
        except (asyncio.TimeoutError, ServiceError) as error:
            JOB_UNHEARD.tell(_log, job=variation.job_id, variation=variation.number, cause=type(error).__name__)
            return None

    def tell(self, request: MusicRequest, made: Resumption, health: SoundHealth | None) -> None:
        """The records have it now, and with it how it sounds."""
        if health is not None and is_new(made.start):
            tell_sound_made(self._recorder, request, made.start, health)


# How often one that must be told to the records is told again.
_AGAIN_S = 1.0

Frames = Callable[[MusicRequest, "Resumption | None"], AsyncGenerator["GenerationStart | CodeFrames", None]]


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
