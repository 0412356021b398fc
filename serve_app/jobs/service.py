"""How much the queued jobs ask for, for whoever decides how many engines there have to be.

Jobs, as the HTTP surface asks for them.

Everything about jobs that a replica needs, opened together and closed together.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

from deployments.messages import QueueClass, Resumption
from deployments.scaling_stats import Place
from deployments.telemetry.metric import NOT_RECORDED, Recorder
from serve_app.database.database import Database
from serve_app.database.job_table import JobRecords, JobTable
from serve_app.database.lease_table import uptime_s
from serve_app.database.leases import Leases
from serve_app.errors import InvalidRequest, NotFound, NotReady, TooBusy
from serve_app.faults import Faults
from serve_app.job import Job, KeyReused, Submission, TooManyQueued, UnknownJob
from serve_app.jobs.followers import Followers
from serve_app.jobs.maker import Frames, Listener
from serve_app.jobs.runner import Runner
from serve_app.scaling.policy import Waiting
from serve_app.settings.application import JobsSettings
from serve_app.settings.storage import RecordsSettings
from serve_app.stores.threads import Threads
from serve_app.tasks import detached

# One query over what is queued; a fleet takes longer to grow.
_LOOK_S = 5.0


class Backlog:
    """waiting: of all tenants' jobs, by model and queue class, as last seen."""

    def __init__(self, records: JobRecords) -> None:
        self._records = records
        self.waiting: Mapping[Place, Waiting] = {}

    async def watch(self) -> None:
        """Until cancelled. While the records can't be reached, it stays as it was."""
        while True:
            with contextlib.suppress(NotReady):  # counted and logged where it was found out
                self.waiting = await self._records.ask("backlog", JobTable.backlog)
            await asyncio.sleep(_LOOK_S)


class Jobs:
    """A `JobsBackend`. changed: is called when there is something new to do, or no longer anything."""

    def __init__(self, records: JobRecords, *, max_queued: int, changed: Callable[[], None]) -> None:
        self._records = records
        self._max_queued = max_queued
        self._changed = changed
        self._followers = Followers(self._find_many)

    async def submit(self, submission: Submission) -> tuple[Job, bool]:
        try:
            job, is_new = await self._records.ask("submit", lambda table: table.submit(submission, self._max_queued))
        except KeyReused as error:
            raise InvalidRequest(
                "This Idempotency-Key came before, with another body: send the same body, or another key.",
                param="Idempotency-Key",
            ) from error
        except TooManyQueued as error:
            raise TooBusy(f"{self._max_queued} jobs wait already, which is all that may; try again later.") from error
        self._changed()
        return job, is_new

    async def is_known(self, tenant: str, idempotency_key: str) -> bool:
        return await self._records.ask("find", lambda table: table.is_known(tenant, idempotency_key))

    async def find(self, tenant: str, job_id: str) -> Job | None:
        return await self._records.ask("find", lambda table: table.find(tenant, job_id))

    async def page(self, tenant: str, limit: int, before: str | None) -> Sequence[Job]:
        try:
            return await self._records.ask("page", lambda table: table.page(tenant, limit, before))
        except UnknownJob as error:
            raise NotFound("There is no such generation to go on from.") from error

    async def cancel(self, tenant: str, job_id: str) -> Job | None:
        job = await self._records.ask("cancel", lambda table: table.cancel(tenant, job_id))
        self._changed()
        return job

    async def remove(self, tenant: str, job_id: str) -> bool:
        return await self._records.ask("remove", lambda table: table.remove(tenant, job_id))

    def follow(self, tenant: str, job_id: str, after: int = -1) -> AsyncGenerator[Job | None, None]:
        return self._followers.follow((tenant, job_id), after)

    async def made(self, tenant: str, job_id: str, variation: int) -> Resumption | None:
        return await self._records.ask("made", lambda table: table.made(tenant, job_id, variation))

    async def _find_many(self, pairs: Collection[tuple[str, str]]) -> Mapping[str, Job]:
        return await self._records.ask("follow", lambda table: table.find_many(pairs))


_log = logging.getLogger("ray.serve.jobs")


class JobService:
    """jobs: for the HTTP surface. backlog: for scaling. leases: under which they are made; frames, models, listener: as
    `Runner` takes them.
    """

    def __init__(
        self,
        database: Database,
        leases: Leases,
        frames: Frames,
        models: Collection[str],
        records: RecordsSettings,
        settings: JobsSettings,
        listener: Listener | None = None,
        *,
        recorder: Recorder = NOT_RECORDED,
    ) -> None:
        self._threads = Threads(records.max_connections, "jobs")
        self._leases = leases
        faults = Faults(uptime_s, _log, recorder=recorder.labelled(store="jobs"))
        job_records = JobRecords(JobTable(database), self._threads, faults, timeout_s=records.timeout_s)
        self._runner = Runner(job_records, leases, frames, models, settings, listener=listener, recorder=recorder)
        self.jobs = Jobs(job_records, max_queued=settings.max_queued, changed=self._runner.has_news)
        self.backlog = Backlog(job_records)
        self._runs = settings.max_running > 0

    def num_under_way(self, queue: QueueClass) -> int:
        """Variations of one class that are being made here."""
        return self._runner.num_under_way(queue)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While the block runs, jobs are made here; at its end they are given back."""
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
