"""Leases for an event loop, and the renewal of a lease while a block of work runs.

A database that is down, full, locked or slow fails no request: the answer is then None, not known, and the caller goes
on without a lease. Reading and writing fail independently (a full disk can be read), so each has a circuit breaker.
While a breaker is open its calls are skipped, and a trial in the background finds out whether the database is back.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Protocol, TypeVar

from deployments.liveness.timings import uptime_s
from deployments.telemetry.metric import Metric
from serve_app.database.lease_table import HeldLease, Lease, LeaseTable, TakenLease
from serve_app.faults import Faults
from serve_app.stores.circuit_breaker import CircuitBreaker
from serve_app.stores.store import StoreBusy, StoreError
from serve_app.stores.threads import ThreadPool

LEASES_LOST = Metric(
    "musicgen_leases_lost_total",
    "counter",
    "Leases that another had taken while their holder worked. kind: generation | job.",
    "leases",
    ("kind",),
)
# Four renewals in a row may fail before the lease expires.
RENEWALS_PER_LEASE = 5

_Result = TypeVar("_Result")


class RenewableLeases(Protocol):
    """What a `LeaseRenewer` needs of `Leases`."""

    @property
    def lease_s(self) -> float: ...

    async def renew(self, lease: Lease) -> bool | None: ...

    async def release(self, lease: Lease) -> None: ...


class LeaseRenewer:
    """For `async with`: renews the lease in a task, and at the end of the block ends the task and releases the lease.

    Args:
        leases: where it was taken.
        held: the lease.
        clock: as `uptime_s`.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        leases: RenewableLeases,
        held: HeldLease,
        *,
        clock: Callable[[], float] = uptime_s,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.lease = held.lease
        self._leases = leases
        self._sure_until_s = held.sure_until_s
        self._clock = clock
        self._sleep = sleep
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def lost(self) -> bool:
        """Whether the database has answered that it is no longer ours; this is final."""
        return self._lost.is_set()

    async def wait_until_lost(self) -> None:
        """Returns when it is lost."""
        await self._lost.wait()

    def is_surely_held(self) -> bool:
        """Whether nobody else can have it now.

        Also False when the last renewal was more than `lease_s` ago: the database cannot be reached, or this process
        was suspended and has just resumed. A later renewal may show that nobody took it.
        """
        return not self.lost and self._clock() < self._sure_until_s

    async def __aenter__(self) -> LeaseRenewer:
        self._task = asyncio.create_task(self._renew_until_lost())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        try:
            await asyncio.wait({self._task})
        finally:
            if not self.lost:
                await self._leases.release(self.lease)
        if not self._task.cancelled():
            self._task.result()  # raises what ended it, if anything did

    async def _renew_until_lost(self) -> None:
        while True:
            await self._sleep(self._leases.lease_s / RENEWALS_PER_LEASE)
            # Read before the call: the answer may take long, or be read after a long pause.
            before_s = self._clock()
            renewed = await self._leases.renew(self.lease)
            if renewed:
                self._sure_until_s = before_s + self._leases.lease_s
            elif renewed is False:
                self._lost.set()
                return


class Leases:
    """Leases whose methods never raise StoreError: None means not known, and is counted and logged as a fault.

    Args:
        table: of the leases.
        threads: for the calls.
        faults: counts failed calls, and logs them once a minute.
        holder: who takes the leases; no other process has the same.
        timeout_s: of each call.
        clock: as `uptime_s`.
        jitter: as `CircuitBreaker`.
    """

    def __init__(
        self,
        table: LeaseTable,
        threads: ThreadPool,
        faults: Faults,
        *,
        holder: str,
        timeout_s: float,
        clock: Callable[[], float] = uptime_s,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.holder = holder
        self.faults = faults
        self._table = table
        self._threads = threads
        self._timeout_s = timeout_s
        self._clock = clock
        self._reading = CircuitBreaker(clock, jitter)
        self._writing = CircuitBreaker(clock, jitter)
        self._background: set[asyncio.Task[Any]] = set()

    @property
    def lease_s(self) -> float:
        """How long a lease lasts unless it is renewed."""
        return self._table.lease_s

    @property
    def is_up(self) -> bool:
        """Whether calls are made: no circuit breaker is open."""
        return not self._reading.is_open and not self._writing.is_open

    async def take(self, name: str, *, value: str = "") -> HeldLease | TakenLease | None:
        """The lease, or who has it. A lease that comes too late, or whose caller was cancelled, is released.

        Args:
            name: of the lease, at most 200 printable characters.
            value: is shown to those who do not get it, likewise.

        Raises:
            ValueError: a text is too long or not printable.
        """
        before_s = self._clock()

        def take() -> Coroutine[Any, Any, Lease | TakenLease]:
            return self._run(lambda: self._table.take(name, self.holder, value), self._release_now)

        outcome = await self._guarded("take", self._writing, take, self._try_to_take)
        return HeldLease(outcome, before_s + self.lease_s) if isinstance(outcome, Lease) else outcome

    async def renew(self, lease: Lease) -> bool | None:
        """Whether it is ours for another `lease_s`. False: it is lost. See `LeaseTable.renew`.

        This call is made even while the breaker is open: no request waits for it, and a lease must not expire because
        of an outage that is over.
        """
        return await self._counted("renew", self._writing, lambda: self._run(lambda: self._table.renew(lease)))

    async def release(self, lease: Lease) -> None:
        """Releases it if it is still ours, even when the caller is cancelled. Where that fails, the lease expires."""
        releasing = self._guarded(
            "release", self._writing, lambda: self._run(lambda: self._table.release(lease)), self._try_to_take
        )
        await asyncio.shield(self._tracked(releasing))

    async def peek(self, name: str) -> TakenLease | None:
        """Who has it; None where nobody has, or where that is not known."""
        return await self._guarded(
            "peek", self._reading, lambda: self._run(lambda: self._table.peek(name)), lambda: self._table.peek(name)
        )

    def renewing(self, held: HeldLease) -> LeaseRenewer:
        """Renews it while an `async with` block runs, and releases it at the end."""
        return LeaseRenewer(self, held, clock=self._clock)

    async def settled(self) -> None:
        """Returns when no call runs in the background."""
        await asyncio.gather(*self._background)

    async def close(self) -> None:
        """Waits for calls in the background, a time-out at most, and closes the connections."""
        try:
            await self.settled()
        finally:
            await self._threads.close()
            await asyncio.to_thread(self._table.close)

    async def _run(self, call: Callable[[], _Result], undo: Callable[[_Result], None] = lambda _: None) -> _Result:
        return await self._threads.run(call, self._timeout_s, undo)

    async def _guarded(
        self,
        what: str,
        breaker: CircuitBreaker,
        call: Callable[[], Coroutine[Any, Any, _Result]],
        trial: Callable[[], object],
    ) -> _Result | None:
        """The call's result; None without a call while the breaker is open. trial: a similar call without effect."""
        if breaker.is_open:
            if breaker.take_trial():
                self._tracked(self._try(what, breaker, trial))
            self.faults.left_out(f"lease {what}")
            return None
        return await self._counted(what, breaker, call)

    async def _counted(
        self, what: str, breaker: CircuitBreaker, call: Callable[[], Coroutine[Any, Any, _Result]]
    ) -> _Result | None:
        try:
            result = await call()
        except StoreError as error:
            self.faults.count(f"lease {what} {error.kind}", str(error))
            # That our own threads are busy says nothing about the database.
            if isinstance(error, StoreBusy):
                breaker.drop_trial()
            else:
                breaker.failed()
            return None
        breaker.succeeded()
        return result

    async def _try(self, what: str, breaker: CircuitBreaker, trial: Callable[[], object]) -> None:
        try:
            await self._counted(what, breaker, lambda: self._run(trial))
        except BaseException:
            breaker.drop_trial()
            raise

    def _try_to_take(self) -> None:
        self._release_now(self._table.take(f"trial/{self.holder}", self.holder))

    def _release_now(self, outcome: Lease | TakenLease) -> None:
        """Called in a thread."""
        if isinstance(outcome, Lease):
            try:
                self._table.release(outcome)
            except StoreError as error:
                self.faults.count(f"lease release {error.kind}", str(error))

    def _tracked(self, call: Coroutine[Any, Any, _Result]) -> asyncio.Task[_Result]:
        task = asyncio.create_task(call)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task
