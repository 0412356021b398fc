"""Everything about jobs that a replica needs, opened together and closed together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from serve_app.cache.faults import Faults
from serve_app.detached import detached
from serve_app.jobs.jobs import Jobs
from serve_app.jobs.records import JobRecords
from serve_app.jobs.runner import Frames, Runner
from serve_app.jobs.settings import JobsSettings
from serve_app.records.database import Database
from serve_app.records.job_table import JobTable
from serve_app.records.leases import Leases
from serve_app.records.moment import uptime_s
from serve_app.records.settings import RecordsSettings
from serve_app.records.threads import Threads

_log = logging.getLogger("ray.serve.jobs")


class JobService:
    """jobs: for the HTTP surface. leases: under which they are made; frames, models: as `Runner` takes them."""

    def __init__(
        self,
        database: Database,
        leases: Leases,
        frames: Frames,
        models: Collection[str],
        records: RecordsSettings,
        settings: JobsSettings,
    ) -> None:
        self._threads = Threads(records.max_connections, "jobs")
        self._leases = leases
        job_records = JobRecords(JobTable(database), self._threads, Faults(uptime_s, _log), timeout_s=records.timeout_s)
        self._runner = Runner(job_records, leases, frames, models, settings)
        self.jobs = Jobs(job_records, max_queued=settings.max_queued, changed=self._runner.has_news)
        self._runs = settings.max_running > 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While the block runs, jobs are made here; at its end they are given back."""
        making = detached(self._runner.run()) if self._runs else None
        try:
            yield
        finally:
            if making is not None:
                making.cancel()
                await asyncio.gather(making, return_exceptions=True)
            await self._threads.close()
            await self._leases.close()
