"""Everything about jobs that a replica needs, opened together and closed together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from deployments.messages import QueueClass
from deployments.metrics.recorder import NOT_RECORDED, Recorder
from serve_app.cache.faults import Faults
from serve_app.detached import detached
from serve_app.jobs.backlog import Backlog
from serve_app.jobs.jobs import Jobs
from serve_app.jobs.listener import Listener
from serve_app.jobs.maker import Frames
from serve_app.jobs.records import JobRecords
from serve_app.jobs.runner import Runner
from serve_app.jobs.settings import JobsSettings
from serve_app.records.database import Database
from serve_app.records.job_table import JobTable
from serve_app.records.leases import Leases
from serve_app.records.moment import uptime_s
from serve_app.records.settings import RecordsSettings
from serve_app.records.threads import Threads

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
