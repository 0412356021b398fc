"""Generations that lost their worker, one at a time: one that kills takes no other suspect with it again."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Suspects:
    """Who of one model's generations may go on, of those that lost their worker and are not well beyond that place."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    def turn(self) -> Turn:
        return Turn(self._lock)


class Turn:
    """One generation's: waited for on entering, over at `end` or on leaving, whichever is first."""

    def __init__(self, lock: asyncio.Lock) -> None:
        self._lock = lock
        self._held = False

    def end(self) -> None:
        """Lets the next one go on; once or more often."""
        if self._held:
            self._held = False
            self._lock.release()

    async def __aenter__(self) -> Turn:
        await self._lock.acquire()
        self._held = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()
