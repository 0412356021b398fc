"""Generates one variation of a job under its lease: saves its codes as they come, and records how it ended."""

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
from serve_app.database.job_table import AsyncJobTable, JobTable
from serve_app.database.lease_table import HeldLease
from serve_app.database.leases import LEASES_LOST, Leases
from serve_app.errors import NotReady, ServiceError, TooBusy, WorkerLostTwice
from serve_app.job import ClaimedVariation, Fault, SoundHealth, StaleToken, VariationId
from serve_app.jobs import (
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
from serve_app.jobs.checkpoints import CheckpointWriter, RunningVariation
from serve_app.pipeline.pipeline import EngineGone
from serve_app.settings.application import JobsSettings
from serve_app.sound.health_reports import UNRECORDED, SoundRecorder, made_new_music, report_health
from serve_app.tasks import cancel_and_wait

# How long a job waits where no slot is free, or no worker: the job has done nothing wrong.
_REQUEUE_S = 1.0
# The music is saved: a client that waits for the job waits no longer than this for its health.
HEALTH_TIMEOUT_S = 120.0
# How often to retry while the database cannot be told how a variation ended.
_RETRY_S = 1.0

Frames = Callable[[MusicRequest, "Resumption | None"], AsyncGenerator["GenerationStart | CodeFrames", None]]
Measure = Callable[[MusicRequest, Resumption], Awaitable[SoundHealth]]

_log = logging.getLogger("ray.serve.jobs")  # below Serve's own, whose files and format it shares


@dataclass(frozen=True)
class RetryPolicy:
    """How long a failed variation waits for its next attempt. jitter: a random number in [0, 1), to spread retries."""

    settings: JobsSettings
    jitter: Callable[[], float] = random.random

    def is_exhausted(self, attempts: int) -> bool:
        """Whether no attempt is left."""
        return attempts >= self.settings.max_attempts

    def backoff_s(self, attempts: int) -> float:
        """The wait after a failure: doubled with every attempt, within bounds, then between half of it and all."""
        whole_s = min(self.settings.backoff_s * 2.0 ** (attempts - 1), self.settings.max_backoff_s)
        return whole_s * (1 + self.jitter()) / 2

    def requeue_s(self, retry_after_s: float | None) -> float:
        """The wait where nothing failed: as the error says, or a moment."""
        return (retry_after_s or _REQUEUE_S) * (1 + self.jitter()) / 2


class JobHealthMeter:
    """Measures how the sound of a job's variation is, by decoding it once when all its codes are saved.

    Nobody may ever fetch the sound, and who does wants to know before; fetching a cached file decodes nothing. A client
    that fetches it soon after from the same replica gets the windows that were decoded here (`WindowCache`).

    Args:
        measure: as `PipelineBackend.sound_health`.
        recorder: of the health of what jobs generate.
    """

    def __init__(self, measure: Measure, recorder: SoundRecorder = UNRECORDED) -> None:
        self._measure = measure
        self._recorder = recorder

    async def health(self, variation: VariationId, request: MusicRequest, made: Resumption) -> SoundHealth | None:
        """The health of all codes; None where they cannot be decoded now, which does not fail the job.

        Raises: what is wrong with the codes or the codec themselves.
        """
        try:
            return await within(self._measure(request, made), HEALTH_TIMEOUT_S)
        except (asyncio.TimeoutError, ServiceError) as error:
            JOB_UNHEARD.tell(_log, job=variation.job_id, variation=variation.number, cause=type(error).__name__)
            return None

    def report(self, request: MusicRequest, made: Resumption, health: SoundHealth | None) -> None:
        """Records the health, once the database has it."""
        if health is not None and made_new_music(made.start):
            report_health(self._recorder, request, made.start, health)


class Maker:
    """Generates variations.

    Args:
        table: of the jobs.
        leases: of the variations.
        checkpoints: saves the codes.
        frames, models, health_meter, recorder: as `Runner`.
        retry_policy: how long failed variations wait.
        not_served_s: how long a job waits whose model is not served here.
    """

    def __init__(
        self,
        table: AsyncJobTable,
        leases: Leases,
        checkpoints: CheckpointWriter,
        frames: Frames,
        models: Collection[str],
        retry_policy: RetryPolicy,
        *,
        not_served_s: float,
        health_meter: JobHealthMeter | None,
        recorder: Recorder,
    ) -> None:
        self._table = table
        self._leases = leases
        self._checkpoints = checkpoints
        self._frames = frames
        self._models = frozenset(models)
        self._retry_policy = retry_policy
        self._not_served_s = not_served_s
        self._health_meter = health_meter
        self._recorder = recorder

    async def make(self, variation: VariationId, held: HeldLease, claimed: ClaimedVariation) -> None:
        """Generates it and records how it ended, under the lease; stops when the lease is lost."""
        running = RunningVariation(variation, held.lease.token)
        async with self._leases.renewing(held) as renewer:
            with self._checkpoints.saving(running):
                attempt = asyncio.create_task(self._make(running, claimed))
                losses = [asyncio.create_task(renewer.wait_until_lost()), asyncio.create_task(running.fenced.wait())]
                try:
                    await asyncio.wait({attempt, *losses}, return_when=asyncio.FIRST_COMPLETED)
                    if not attempt.done():
                        JOB_LOST.tell(_log, job=variation.job_id, variation=variation.number)
                        if renewer.lost:
                            self._recorder.add(LEASES_LOST, kind="job")
                finally:
                    await cancel_and_wait(losses)
                    await cancel_and_wait([attempt])
                outcome = "lost" if attempt.cancelled() else attempt.result()
                self._recorder.add(JOB_ATTEMPTS, queue=claimed.request.queue, outcome=outcome)

    async def _make(self, running: RunningVariation, claimed: ClaimedVariation) -> str:
        """Returns the outcome, a label of JOB_ATTEMPTS."""
        variation, token = running.variation, running.token
        at = 0 if claimed.resumption is None else claimed.resumption.codes.shape[1]
        JOB_BEGUN.tell(
            _log,
            job=variation.job_id,
            variation=variation.number,
            attempt=claimed.attempts,
            frame=at,
            num_frames=claimed.num_frames,
            request_id=claimed.request.request_id,
        )
        try:
            made = await self._save_frames(running, claimed, at)
            health = None
            if self._health_meter is not None:
                health = await self._health_meter.health(variation, claimed.request, made)
            if await self._end(variation, lambda table: table.succeed(variation, token, health)):
                named = short_id(made.start.key)
                JOB_MADE.tell(_log, job=variation.job_id, variation=variation.number, generation=named)
                if self._health_meter is not None:
                    self._health_meter.report(claimed.request, made, health)
                return "made"
            return "lost"
        except EngineGone:
            JOB_BEGUN_AGAIN.tell(_log, job=variation.job_id, variation=variation.number)
            await self._end(variation, lambda table: table.start_over(variation, token))
            return "begun_again"
        except (TooBusy, NotReady) as error:
            await self._put_off(running, self._retry_policy.requeue_s(error.retry_after_s), error, failed=False)
            return "put_off"
        except WorkerLostTwice as error:
            await self._fail(running, error)  # this variation is what crashes workers
            return "failed"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is retried, or recorded as a fault
            if self._retry_policy.is_exhausted(claimed.attempts):
                await self._fail(running, error)
                return "failed"
            await self._put_off(running, self._retry_policy.backoff_s(claimed.attempts), error, failed=True)
            return "put_off"

    async def _save_frames(self, running: RunningVariation, claimed: ClaimedVariation, at: int) -> Resumption:
        """Generates and saves the missing frames. Returns all of them.

        Raises: what generating raises, after the frames before it are saved.
        """
        if claimed.request.model not in self._models:
            raise NotReady("The model is not served here.", retry_after_s=self._not_served_s)
        failure = None
        start = None if claimed.resumption is None else claimed.resumption.start
        parts = [] if claimed.resumption is None or at == 0 else [claimed.resumption.codes]
        try:
            if at < claimed.num_frames:
                async with aclosing(self._frames(claimed.request, claimed.resumption)) as items:
                    async for item in items:
                        running.add(item)
                        self._checkpoints.notify()
                        if isinstance(item, GenerationStart):
                            start = item
                        else:
                            parts.append(item.codes)
        except Exception as error:  # noqa: BLE001 - raised below
            failure = error
        await self._checkpoints.flush(running)
        if failure is not None:
            raise failure
        assert start is not None, "frames come after a start"
        return Resumption(start, np.concatenate(parts, axis=1))

    async def _put_off(self, running: RunningVariation, delay_s: float, error: Exception, *, failed: bool) -> None:
        variation, token = running.variation, running.token
        JOB_PUT_OFF.tell(_log, job=variation.job_id, variation=variation.number, delay_s=delay_s, reason=_reason(error))
        await self._end(variation, lambda table: table.put_off(variation, token, delay_s, failed=failed))

    async def _fail(self, running: RunningVariation, error: Exception) -> None:
        variation, token = running.variation, running.token
        if isinstance(error, ServiceError):
            fault = Fault(error.type, error.message)
        else:
            fault = Fault("internal", "The service failed again and again; the job's id finds the cause in its log.")
        JOB_FAILED.tell(_log, error, job=variation.job_id, variation=variation.number, reason=_reason(error))
        await self._end(variation, lambda table: table.fail(variation, token, fault))

    async def _end(self, variation: VariationId, call: Callable[[JobTable], None]) -> bool:
        """Records how it ended, retrying while the database cannot be reached. Returns False for a stale token."""
        while True:
            try:
                await self._table.run("end", call)
            except NotReady:
                await asyncio.sleep(_RETRY_S)
            except StaleToken:
                JOB_TAKEN_OVER.tell(_log, job=variation.job_id, variation=variation.number)
                return False
            else:
                return True


def _reason(error: Exception) -> str:
    """Why it failed, without what a client sent: only our own errors' messages are known to be free of it."""
    return error.message if isinstance(error, ServiceError) else type(error).__name__
