"""Leases for an event loop. A store that is down, full, locked or slow fails no request: then there is no telling.

Whoever is told so goes on without a lease. Reading and writing fail apart (a full disk can be read), so each has a
breaker; while one is open its calls are not made, and a trial beside them finds out whether the store is back.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from serve_app.cache.breaker import Breaker
from serve_app.cache.faults import Faults
from serve_app.cache.store import StoreBusy, StoreError
from serve_app.records.keeper import Keeper
from serve_app.records.lease import Held, Lease, Taken
from serve_app.records.lease_table import LeaseTable
from serve_app.records.moment import uptime_s
from serve_app.records.threads import Threads

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
