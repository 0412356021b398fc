"""Jobs of an ingress replica: the API's operations on them, the backlog for autoscaling, and all of it together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

from deployments.liveness.timings import uptime_s
from deployments.messages import QueueClass, Resumption
from deployments.scaling_stats import ModelQueue
from deployments.telemetry.metric import NOT_RECORDED, Recorder
from serve_app.database.database import Database
from serve_app.database.job_table import AsyncJobTable, JobTable
from serve_app.database.leases import Leases
from serve_app.errors import InvalidRequest, NotFound, NotReady, TooBusy
from serve_app.faults import Faults
from serve_app.job import IdempotencyKeyReused, Job, Submission, TooManyQueued, UnknownJob
from serve_app.jobs.followers import Followers
from serve_app.jobs.maker import Frames, JobHealthMeter
from serve_app.jobs.runner import Runner
from serve_app.scaling.policy import Waiting
from serve_app.settings.application import JobsSettings
from serve_app.settings.storage import DatabaseSettings
from serve_app.stores.threads import ThreadPool
from serve_app.tasks import detached

# One query over the queue; adding replicas takes longer than this.
_POLL_S = 5.0

_log = logging.getLogger("ray.serve.jobs")  # below Serve's own, whose files and format it shares


class Backlog:
    """Queued work of all tenants. waiting: by model and queue class, as last read."""

    def __init__(self, table: AsyncJobTable) -> None:
        self._table = table
        self.waiting: Mapping[ModelQueue, Waiting] = {}

    async def watch(self) -> None:
        """Reads it again and again until cancelled. While the database cannot be reached, it stays as it was."""
        while True:
            with contextlib.suppress(NotReady):  # `AsyncJobTable` has counted and logged it
                self.waiting = await self._table.run("backlog", JobTable.backlog)
            await asyncio.sleep(_POLL_S)


class Jobs:
    """A `JobsBackend`. changed: is called when a job was submitted or cancelled."""

    def __init__(self, table: AsyncJobTable, *, max_queued: int, changed: Callable[[], None]) -> None:
        self._table = table
        self._max_queued = max_queued
        self._changed = changed
        self._followers = Followers(self._find_many)

    async def submit(self, submission: Submission) -> tuple[Job, bool]:
        try:
            job, is_new = await self._table.run("submit", lambda table: table.submit(submission, self._max_queued))
        except IdempotencyKeyReused as error:
            raise InvalidRequest(
                "This Idempotency-Key came before, with another body: send the same body, or another key.",
                param="Idempotency-Key",
            ) from error
        except TooManyQueued as error:
            raise TooBusy(
                f"Your queue is full: at most {self._max_queued} variations may wait; try again later."
            ) from error
        self._changed()
        return job, is_new

    async def is_known(self, tenant: str, idempotency_key: str) -> bool:
        return await self._table.run("find", lambda table: table.is_known(tenant, idempotency_key))

    async def find(self, tenant: str, job_id: str) -> Job | None:
        return await self._table.run("find", lambda table: table.find(tenant, job_id))

    async def page(self, tenant: str, limit: int, before: str | None) -> Sequence[Job]:
        try:
            return await self._table.run("page", lambda table: table.page(tenant, limit, before))
        except UnknownJob as error:
            raise NotFound("There is no such generation to go on from.") from error

    async def cancel(self, tenant: str, job_id: str) -> Job | None:
        job = await self._table.run("cancel", lambda table: table.cancel(tenant, job_id))
        self._changed()
        return job

    async def remove(self, tenant: str, job_id: str) -> bool:
        return await self._table.run("remove", lambda table: table.remove(tenant, job_id))

    def follow(self, tenant: str, job_id: str, after: int = -1) -> AsyncGenerator[Job | None, None]:
        return self._followers.follow((tenant, job_id), after)

    async def made(self, tenant: str, job_id: str, variation: int) -> Resumption | None:
        return await self._table.run("made", lambda table: table.made(tenant, job_id, variation))

    async def _find_many(self, pairs: Collection[tuple[str, str]]) -> Mapping[str, Job]:
        return await self._table.run("follow", lambda table: table.find_many(pairs))


class JobService:
    """What a replica needs of jobs, opened and closed together. jobs: for the API. backlog: for autoscaling.

    Args:
        database: of the jobs.
        leases: of variations; they are closed with the service.
        frames, models, health_meter, recorder: as `Runner`.
        database_settings: of the database.
        settings: of jobs.
    """

    def __init__(
        self,
        database: Database,
        leases: Leases,
        frames: Frames,
        models: Collection[str],
        database_settings: DatabaseSettings,
        settings: JobsSettings,
        health_meter: JobHealthMeter | None = None,
        *,
        recorder: Recorder = NOT_RECORDED,
    ) -> None:
        self._threads = ThreadPool(database_settings.max_connections, "jobs")
        self._leases = leases
        faults = Faults(uptime_s, _log, recorder=recorder.labelled(store="jobs"))
        table = AsyncJobTable(JobTable(database), self._threads, faults, timeout_s=database_settings.timeout_s)
        self._runner = Runner(table, leases, frames, models, settings, health_meter=health_meter, recorder=recorder)
        self.jobs = Jobs(table, max_queued=settings.max_queued, changed=self._runner.notify)
        self.backlog = Backlog(table)
        self._runs = settings.max_running > 0

    def num_running(self, queue: QueueClass) -> int:
        """Variations of one class that run here."""
        return self._runner.num_running(queue)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While the block runs, jobs run here; at its end they are released."""
        tasks = [detached(self.backlog.watch())]
        if self._runs:
            tasks.append(detached(self._runner.run()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._threads.close()
            await self._leases.close()
