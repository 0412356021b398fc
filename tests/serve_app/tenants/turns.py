"""Leases of jobs that are given out one at a time, when a test says so: until then every job stays in the queue."""

from __future__ import annotations

import asyncio

from deployments.liveness.timings import uptime_s
from serve_app.database.database import Database
from serve_app.database.engines import process_name
from serve_app.database.lease_table import HeldLease, Lease, LeaseTable, TakenLease
from serve_app.database.leases import Leases
from serve_app.faults import Faults
from serve_app.settings.storage import DatabaseSettings
from serve_app.stores.threads import ThreadPool


class Turns(Leases):
    """num_allowed: that are still given out. held: names of jobs' leases that somebody has."""

    def __init__(self, settings: DatabaseSettings, database: Database) -> None:
        super().__init__(
            LeaseTable(database, lease_s=settings.lease_s),
            ThreadPool(settings.max_connections, "turns"),
            Faults(uptime_s),
            holder=process_name(),
            timeout_s=settings.timeout_s,
        )
        self.num_allowed = 0
        self.held: set[str] = set()
        self._changed = asyncio.Event()

    async def until_taken(self) -> None:
        """Gives out one, and returns when somebody has it."""
        self.num_allowed += 1
        while self.num_allowed:
            self._changed.clear()
            await self._changed.wait()

    async def take(self, name: str, *, value: str = "") -> HeldLease | TakenLease | None:
        if not self.num_allowed:
            return TakenLease("nobody yet", "", 1.0)
        taken = await super().take(name, value=value)
        if isinstance(taken, HeldLease):
            self.num_allowed -= 1
            self.held.add(name)
            self._changed.set()
        return taken

    async def release(self, lease: Lease) -> None:
        await super().release(lease)
        self.held.discard(lease.name)
