"""How much the queued jobs ask for, for whoever decides how many engines there have to be."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from deployments.scaling_stats import Place
from serve_app.api.errors import NotReady
from serve_app.jobs.records import JobRecords
from serve_app.records.job_table import JobTable
from serve_app.scaling.waiting import Waiting

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
