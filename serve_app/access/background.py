"""Work that goes on beside the requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from serve_app.detached import detached


class Background:
    """work: goes on until it is cancelled, or has reason to end. What it raises is a fault, and is not lost."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = detached(self._work())

    @property
    def fault(self) -> BaseException | None:
        """What ended it, if anything did."""
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        return self._task.exception()

    async def close(self) -> None:
        """Ends it. Raises: the fault."""
        if self._task is not None:
            self._task.cancel()
        await self.finished()

    async def finished(self) -> None:
        """Returns when it has ended by itself. Raises: the fault."""
        if self._task is not None:
            await asyncio.wait({self._task})
        if self.fault is not None:
            raise self.fault
