"""Leases of a real database, with a door at which a test can hold up those who take one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from serve_app.database.lease_table import HeldLease, Lease, LeaseTable, TakenLease
from serve_app.database.leases import Leases
from serve_app.faults import Faults
from serve_app.stores.threads import ThreadPool
from tests.serve_app.database.tables import LEASE_S, Clock, database

OURS = "ours"


class Door(LeaseTable):
    """Leases of a real database, which are granted behind a door."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.opened = threading.Event()
        self.opened.set()
        self.reached = threading.Semaphore(0)
        self.num_takes = 0

    def take(self, name: str, holder: str, value: str = "") -> Lease | TakenLease:
        self.num_takes += 1
        outcome = super().take(name, holder, value)
        self.reached.release()
        self.opened.wait()
        return outcome


Test = Callable[[Leases, Door, Clock], Coroutine[Any, Any, None]]


def run_leases(folder: Path, test: Test, *, timeout_s: float = 60.0, store_timeout_s: float = 60.0) -> None:
    """timeout_s: of a call. store_timeout_s: the database's own."""

    async def within() -> None:
        clock = Clock()
        table = Door(database(folder, timeout_s=store_timeout_s), lease_s=LEASE_S, clock=clock)
        leases = Leases(
            table,
            ThreadPool(2, "records"),
            Faults(lambda: clock.now_s),
            holder=OURS,
            timeout_s=timeout_s,
            clock=lambda: clock.now_s,
            jitter=lambda: 0.0,
        )
        table.peek("anything")  # the file is there
        try:
            await test(leases, table, clock)
        finally:
            table.opened.set()
            await leases.close()
        assert len(asyncio.all_tasks()) == 1

    before = threading.active_count()
    asyncio.run(within())
    assert threading.active_count() <= before


async def held(leases: Leases, name: str = "a") -> HeldLease:
    outcome = await leases.take(name)
    assert isinstance(outcome, HeldLease), outcome
    return outcome
