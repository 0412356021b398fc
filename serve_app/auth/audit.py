"""The audit log: one record of every request, written to the database in batches that no request waits for."""

from __future__ import annotations

import asyncio
import functools
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol

from serve_app.faults import Faults
from serve_app.identity import AuditRecord
from serve_app.settings.application import AuditSettings
from serve_app.stores.store import StoreError
from serve_app.stores.threads import ThreadPool
from serve_app.tasks import BackgroundTask

MAX_WAITING = 10_000
BATCH_SIZE = 200
WRITE_EVERY_S = 1.0
SWEEP_EVERY_S = 3600.0
# A write that is given up may still succeed, and would then be made twice. So the database's own time-outs, which are
# shorter, are to end it; this one is for a call that not even they end.
_TIMEOUT_S = 60.0


class AuditStore(Protocol):
    """Where the records are stored. The calls block, so they run in a thread. Each is atomic, or raises StoreError."""

    def write(self, records: Sequence[AuditRecord], /) -> None: ...

    def sweep(self, before_s: float, /) -> int:
        """Deletes some of the records before that moment, in seconds since 1970; how many, 0 where none are left."""
        ...


class Audit:
    """A queue of records and the task that writes them.

    While the database is down the queue holds the newest MAX_WAITING records; older ones are dropped and counted. A
    record is written once, or twice where the database's answer to the first write was lost.

    Args:
        clock: seconds since 1970.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        store: AuditStore,
        threads: ThreadPool,
        faults: Faults,
        settings: AuditSettings,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._threads = threads
        self._faults = faults
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._waiting: deque[AuditRecord] = deque()
        self._full = asyncio.Event()
        self._writing = BackgroundTask(self._write_forever)
        self._closing = asyncio.Event()
        self._swept_s: float | None = None

    @property
    def num_waiting(self) -> int:
        """Records not written yet."""
        return len(self._waiting)

    def put(self, record: AuditRecord) -> None:
        """Queues the record; without its prompt where the settings say `redacted`."""
        if self._settings.prompts == "redacted":
            record = replace(record, prompt=None)
        self._waiting.append(record)
        self._drop_beyond()
        if self._writing.fault is not None:
            self._faults.count("audit stopped", type(self._writing.fault).__name__)
        if len(self._waiting) >= BATCH_SIZE:
            self._full.set()

    def start(self) -> None:
        """Begins to write."""
        self._writing.start()

    async def close(self) -> None:
        """Writes the waiting records, as far as that can be done now, and ends."""
        self._closing.set()
        self._full.set()
        try:
            # Not by cancelling: a cancelled write may succeed all the same, and would be made twice.
            await self._writing.finished()
            await self.flush()
        finally:
            await self._threads.close()

    async def flush(self) -> bool:
        """Writes the waiting records; whether that could be done."""
        self._full.clear()
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH_SIZE, len(self._waiting)))]
            written = False
            try:
                written = await self._run("write", functools.partial(self._write, batch)) is not None
            finally:
                if not written:
                    self._waiting.extendleft(reversed(batch))
                    self._drop_beyond()
            if not written:
                return False
        return True

    async def sweep(self) -> None:
        """Deletes some of the records that are too old, unless all were deleted within the last hour."""
        now_s, keep_s = self._clock(), self._settings.keep_s
        if keep_s is None or (self._swept_s is not None and abs(now_s - self._swept_s) < SWEEP_EVERY_S):
            return
        if await self._run("sweep", lambda: self._store.sweep(now_s - keep_s)) == 0:
            self._swept_s = now_s

    async def _write_forever(self) -> None:
        while not self._closing.is_set():
            if await self.flush():
                await self.sweep()
                await self._until_full_or_due()
            else:
                await self._sleep(WRITE_EVERY_S)

    async def _until_full_or_due(self) -> None:
        due = asyncio.ensure_future(self._sleep(WRITE_EVERY_S))
        full = asyncio.ensure_future(self._full.wait())
        try:
            await asyncio.wait({due, full}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            due.cancel()
            full.cancel()

    def _write(self, batch: Sequence[AuditRecord]) -> int:
        self._store.write(batch)
        return len(batch)

    async def _run(self, what: str, call: Callable[[], int]) -> int | None:
        """The call's result; None where it failed."""
        try:
            return await self._threads.run(call, _TIMEOUT_S)
        except StoreError as error:
            self._faults.count(f"audit {what} {error.kind}", str(error))
            return None

    def _drop_beyond(self) -> None:
        while len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self._faults.count("audit dropped", f"more than {MAX_WAITING} records wait to be written")
