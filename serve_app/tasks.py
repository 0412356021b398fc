"""Tasks that several requests wait for, and that belong to none of them.

A task takes on the context of whoever starts it, and Serve ends whatever a request has begun when its client leaves.

The end of tasks.

Blocking calls that use something which may only be closed once they have ended.

Work that goes on beside the requests.

A lock for each name that somebody wants, and none for the others.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")


def detached(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """As `asyncio.create_task`, in an empty context."""
    return contextvars.Context().run(asyncio.create_task, coroutine)


async def cancel_and_wait(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancels them, and returns when they are through with that."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


P = ParamSpec("P")


async def finish_in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As `asyncio.to_thread`, but for a cancelled caller, however often: it is let go when the call has ended."""
    running = asyncio.get_running_loop().run_in_executor(None, partial(function, *args, **kwargs))
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return running.result()
    running.exception()  # nobody is left to hear of it
    raise cancelled


class BackgroundTask:
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


class KeyedLocks:
    """Whoever holds `name` is alone with it. No name is remembered that nobody holds or waits for."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._locks)

    @asynccontextmanager
    async def held(self, name: str) -> AsyncIterator[None]:
        """First come, first served."""
        lock = self._locks.setdefault(name, asyncio.Lock())
        self._users[name] = self._users.get(name, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._users[name] -= 1
            if not self._users[name]:
                del self._locks[name], self._users[name]
