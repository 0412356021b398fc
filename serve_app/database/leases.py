"""Keeps a lease while a block of work runs, and knows when it can no longer vouch for it.

Leases for an event loop. A store that is down, full, locked or slow fails no request: then there is no telling.

Whoever is told so goes on without a lease. Reading and writing fail apart (a full disk can be read), so each has a
breaker; while one is open its calls are not made, and a trial beside them finds out whether the store is back.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Protocol, TypeVar

from deployments.telemetry.metric import Metric
from serve_app.database.lease_table import Held, Lease, LeaseTable, Taken, uptime_s
from serve_app.faults import Faults
from serve_app.stores.guarded import Breaker
from serve_app.stores.store import StoreBusy, StoreError
from serve_app.stores.threads import Threads

LEASES_LOST = Metric(
    "musicgen_leases_lost_total",
    "counter",
    "Leases that another had taken while their holder worked. kind: generation | job.",
    "leases",
    ("kind",),
)


# So four renewals in a row may fail before the lease does.
RENEWALS_PER_LEASE = 5


class Renewing(Protocol):
    """What a keeper needs of `Leases`."""

    @property
    def lease_s(self) -> float: ...

    async def renew(self, lease: Lease) -> bool | None: ...

    async def release(self, lease: Lease) -> None: ...


class Keeper:
    """For `async with`: renews the lease in a task of its own; at the end, however it comes, ends the task and gives
    the lease back. clock: as `uptime_s`. sleep: waits for so many seconds.
    """

    def __init__(
        self,
        leases: Renewing,
        held: Held,
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
        self._renewing: asyncio.Task[None] | None = None

    @property
    def lost(self) -> bool:
        """Whether the store has said that it is no longer ours; it does not become so again."""
        return self._lost.is_set()

    async def until_lost(self) -> None:
        """Returns when it is lost."""
        await self._lost.wait()

    def is_surely_held(self) -> bool:
        """Whether nobody else can have it now.

        False too when the last renewal was asked for longer than `lease_s` ago: the store can't be reached, or this
        process was stopped for a while and has just woken. A later renewal may show that nobody took it.
        """
        return not self.lost and self._clock() < self._sure_until_s

    async def __aenter__(self) -> Keeper:
        self._renewing = asyncio.create_task(self._renew_until_lost())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._renewing is not None
        self._renewing.cancel()
        try:
            await asyncio.wait({self._renewing})
        finally:
            if not self.lost:
                await self._leases.release(self.lease)
        if not self._renewing.cancelled():
            self._renewing.result()  # raises what ended it, if anything did

    async def _renew_until_lost(self) -> None:
        while True:
            await self._sleep(self._leases.lease_s / RENEWALS_PER_LEASE)
            # From before the call: the answer may be long on its way, or be read after a long pause.
            asked_s = self._clock()
            renewed = await self._leases.renew(self.lease)
            if renewed:
                self._sure_until_s = asked_s + self._leases.lease_s
            elif renewed is False:
                self._lost.set()
                return


_Result = TypeVar("_Result")


class Leases:
    """No method raises StoreError. None stands for: no telling, counted in `faults` and logged once a minute.

    holder: who takes the leases, like no other process's. timeout_s: of each call. clock: as `uptime_s`. jitter: in
    [0, 1), of the breakers.
    """

    def __init__(
        self,
        table: LeaseTable,
        threads: Threads,
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
        self._reading = Breaker(clock, jitter)
        self._writing = Breaker(clock, jitter)
        self._beside: set[asyncio.Task[Any]] = set()

    @property
    def lease_s(self) -> float:
        """How long a lease lasts unless it is renewed."""
        return self._table.lease_s

    @property
    def is_up(self) -> bool:
        """Whether the store is asked at all, as far as is known."""
        return not self._reading.is_open and not self._writing.is_open

    async def take(self, name: str, *, value: str = "") -> Held | Taken | None:
        """The lease, or who has it. One that comes too late, or for one who was cancelled, is given back.

        value: told to whoever does not get it; like the name 200 printable characters at most, or ValueError.
        """
        asked_s = self._clock()

        def take() -> Coroutine[Any, Any, Lease | Taken]:
            return self._run(lambda: self._table.take(name, self.holder, value), self._put_back)

        outcome = await self._guarded("take", self._writing, take, self._rehearse)
        return Held(outcome, asked_s + self.lease_s) if isinstance(outcome, Lease) else outcome

    async def renew(self, lease: Lease) -> bool | None:
        """Whether it is ours for another `lease_s`. False: lost, another has or had it. See `LeaseTable.renew`.

        This call is made though the breaker be open: no request waits for it, and a lease must not end with an outage
        that is over.
        """
        return await self._counted("renew", self._writing, lambda: self._run(lambda: self._table.renew(lease)))

    async def release(self, lease: Lease) -> None:
        """Gives it back if it is still ours, also when who asks is cancelled. Where that fails its time ends it."""
        releasing = self._guarded(
            "release", self._writing, lambda: self._run(lambda: self._table.release(lease)), self._rehearse
        )
        await asyncio.shield(self._tracked(releasing))

    async def peek(self, name: str) -> Taken | None:
        """Who has it; None where nobody has, or no telling."""
        return await self._guarded(
            "peek", self._reading, lambda: self._run(lambda: self._table.peek(name)), lambda: self._table.peek(name)
        )

    def kept(self, held: Held) -> Keeper:
        """Renews it while an `async with` block runs, and gives it back."""
        return Keeper(self, held, clock=self._clock)

    async def settled(self) -> None:
        """Returns when nothing is on its way that nobody waits for."""
        await asyncio.gather(*self._beside)

    async def close(self) -> None:
        """Lets what is on its way come to its end, which takes a time-out at most, and ends the connections."""
        try:
            await self.settled()
        finally:
            await self._threads.close()
            await asyncio.to_thread(self._table.close)

    async def _run(self, call: Callable[[], _Result], put_back: Callable[[_Result], None] = lambda _: None) -> _Result:
        return await self._threads.run(call, self._timeout_s, put_back)

    async def _guarded(
        self,
        what: str,
        breaker: Breaker,
        call: Callable[[], Coroutine[Any, Any, _Result]],
        rehearse: Callable[[], object],
    ) -> _Result | None:
        """The call's result; None without a call while the breaker is open. rehearse: the like, to no effect."""
        if breaker.is_open:
            if breaker.take_trial():
                self._tracked(self._try(what, breaker, rehearse))
            self.faults.left_out(f"lease {what}")
            return None
        return await self._counted(what, breaker, call)

    async def _counted(
        self, what: str, breaker: Breaker, call: Callable[[], Coroutine[Any, Any, _Result]]
    ) -> _Result | None:
        try:
            result = await call()
        except StoreError as error:
            self.faults.count(f"lease {what} {error.kind}", str(error))
            # A crowd before our own threads says nothing about the store.
            if isinstance(error, StoreBusy):
                breaker.drop_trial()
            else:
                breaker.failed()
            return None
        breaker.succeeded()
        return result

    async def _try(self, what: str, breaker: Breaker, rehearse: Callable[[], object]) -> None:
        try:
            await self._counted(what, breaker, lambda: self._run(rehearse))
        except BaseException:
            breaker.drop_trial()
            raise

    def _rehearse(self) -> None:
        self._put_back(self._table.take(f"trial/{self.holder}", self.holder))

    def _put_back(self, outcome: Lease | Taken) -> None:
        """In a thread."""
        if isinstance(outcome, Lease):
            try:
                self._table.release(outcome)
            except StoreError as error:
                self.faults.count(f"lease release {error.kind}", str(error))

    def _tracked(self, call: Coroutine[Any, Any, _Result]) -> asyncio.Task[_Result]:
        task = asyncio.create_task(call)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)
        return task
