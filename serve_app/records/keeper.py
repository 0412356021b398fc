"""Keeps a lease while a block of work runs, and knows when it can no longer vouch for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Protocol

from serve_app.records.lease import Held, Lease
from serve_app.records.moment import uptime_s

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
