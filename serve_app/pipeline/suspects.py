"""Generations that lost their worker, one at a time: one that kills takes no other suspect with it again."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Protocol

from serve_app.records.keeper import Keeper
from serve_app.records.lease import Held, Taken

_POLL_S = 0.1


class TurnLeases(Protocol):
    """What of `Leases` it takes for one turn among all replicas."""

    async def take(self, name: str, *, value: str = "") -> Held | Taken | None: ...

    def kept(self, held: Held) -> Keeper: ...


class Suspects:
    """Who of one model's generations may go on, of those that lost their worker and are not well beyond that place.

    leases: shared with the other replicas. Where there is no telling who has the turn, it is one in each of them.
    """

    def __init__(self, model: str, leases: TurnLeases) -> None:
        self._name = f"turn/{model}"
        self._leases = leases
        self._lock = asyncio.Lock()

    def turn(self) -> Turn:
        return Turn(self._lock, self._leases, self._name)


class Turn:
    """One generation's: waited for on entering, over at `end` or on leaving, whichever is first."""

    def __init__(self, lock: asyncio.Lock, leases: TurnLeases, name: str) -> None:
        self._lock = lock
        self._leases = leases
        self._name = name
        self._held = AsyncExitStack()

    async def end(self) -> None:
        """Lets the next one go on; once or more often."""
        await self._held.aclose()

    async def __aenter__(self) -> Turn:
        try:
            await self._held.enter_async_context(self._lock)
            while isinstance(taken := await self._leases.take(self._name), Taken):  # noqa: ASYNC110 - by another process
                await asyncio.sleep(_POLL_S)
            if taken is not None:
                await self._held.enter_async_context(self._leases.kept(taken))
        except BaseException:
            await self._held.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.end()
