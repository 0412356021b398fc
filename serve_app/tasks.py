"""Helpers for asyncio: detached and background tasks, cancelling, blocking calls, and locks by name."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")


def detached(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """As `asyncio.create_task`, in an empty context, for tasks that no single request owns.

    A task inherits the context of its creator, and Serve ends what a request has begun when its client disconnects.
    """
    return contextvars.Context().run(asyncio.create_task, coroutine)


async def cancel_and_wait(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancels the tasks, and returns when they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


P = ParamSpec("P")


async def finish_in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As `asyncio.to_thread`, but a cancelled caller waits for its end, so that what it uses can be closed."""
    running = asyncio.get_running_loop().run_in_executor(None, partial(function, *args, **kwargs))
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return running.result()
    running.exception()  # else asyncio reports that nobody fetched it
    raise cancelled


class BackgroundTask:
    """Work beside the requests. work: runs until it ends or is cancelled; an exception of it is kept as the fault."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts the work."""
        self._task = detached(self._work())

    @property
    def fault(self) -> BaseException | None:
        """The exception that ended it, if there was one."""
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        return self._task.exception()

    async def close(self) -> None:
        """Cancels it and waits for its end. Raises: the fault."""
        if self._task is not None:
            self._task.cancel()
        await self.finished()

    async def finished(self) -> None:
        """Returns when it has ended. Raises: the fault."""
        if self._task is not None:
            await asyncio.wait({self._task})
        if self.fault is not None:
            raise self.fault


class KeyedLocks:
    """A lock for each name. A name that nobody holds or waits for takes no memory."""

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
