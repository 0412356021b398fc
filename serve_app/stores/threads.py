"""Blocking calls made from an event loop: a few threads, a short queue, and a time-out for each call.

Nobody can end a thread that waits for a dead server. So the caller leaves at the time-out, the thread stays busy until
its own time-outs end it, and when all threads are busy the queue fills and further calls fail at once. Neither the loop
nor memory suffers, however slow the server is.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from deployments.liveness.stalls import within
from serve_app.cache.entry import Packed
from serve_app.cache.keys import Key
from serve_app.stores.store import BlockingStore, StoreBusy, StoreTimeout

# A burst that a healthy store works off in well under a second, but not what collects while it waits for a dead one.
_QUEUED_PER_THREAD = 32

_Result = TypeVar("_Result")


class _AbandonableCall(Generic[_Result]):
    """A call whose result is either fetched or, where its caller has left, undone."""

    def __init__(self, call: Callable[[], _Result], undo: Callable[[_Result], None]) -> None:
        self._call = call
        self._undo = undo
        self._lock = threading.Lock()
        self._is_abandoned = False
        self._results: list[_Result] = []

    def run(self) -> _Result:
        """Called in a thread."""
        result = self._call()
        with self._lock:
            self._results.append(result)
            is_unwanted = self._is_abandoned
        if is_unwanted:
            self._undo(result)
        return result

    def abandon(self) -> Callable[[], None] | None:
        """Nobody fetches the result. Returns what has to run in a thread to undo one that is there already."""
        with self._lock:
            self._is_abandoned = True
            if not self._results:
                return None
        return lambda: self._undo(self._results[0])


class ThreadPool:
    """Threads with a bounded queue.

    Args:
        num_threads: calls that run at once.
        name: prefix of the threads' names.
    """

    def __init__(self, num_threads: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix=name)
        self._unfinished: set[Future[Any]] = set()
        self._max_unfinished = num_threads * (1 + _QUEUED_PER_THREAD)
        self._is_closed = False

    @property
    def num_unfinished(self) -> int:
        """Calls that wait for a thread or have one, abandoned ones included."""
        return len(self._unfinished)

    async def run(
        self,
        call: Callable[[], _Result],
        timeout_s: float,
        undo: Callable[[_Result], None] = lambda _: None,
    ) -> _Result:
        """The result of the call. A cancelled caller leaves at once; a call that still waits is then never made.

        Args:
            call: runs in a thread.
            timeout_s: from now on, waiting for a thread included.
            undo: is called in a thread with a result that came too late, or whose caller was cancelled; it must not
                raise.

        Raises:
            StoreBusy: too many calls are unfinished.
            StoreTimeout: there is no result in time.
            Exception: what the call raises.
        """
        if len(self._unfinished) >= self._max_unfinished:
            raise StoreBusy(f"{len(self._unfinished)} calls are unfinished")
        abandonable = _AbandonableCall(call, undo)
        result = asyncio.wrap_future(self._submit(abandonable.run))
        try:
            return await within(result, timeout_s)
        except asyncio.TimeoutError as error:
            self._abandon(abandonable)
            raise StoreTimeout(f"no answer within {timeout_s:g} s") from error
        except asyncio.CancelledError:
            self._abandon(abandonable)
            if result.done() and not result.cancelled():
                result.exception()  # else asyncio reports that nobody fetched it
            raise

    async def close(self) -> None:
        """Drops calls that wait for a thread, and returns when those that have one have ended."""
        self._is_closed = True
        # In another thread, because shutting down waits for the threads, and the loop must not.
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)

    def _abandon(self, call: _AbandonableCall[Any]) -> None:
        undo = call.abandon()
        if undo is not None and not self._is_closed:
            self._submit(undo)

    def _submit(self, call: Callable[[], _Result]) -> Future[_Result]:
        future = self._threads.submit(call)
        self._unfinished.add(future)
        # Called once, whether the call ran or was cancelled while it waited; `discard` is atomic.
        future.add_done_callback(self._unfinished.discard)
        return future


class ThreadedStore:
    """A `Store`: a blocking store behind a pool of threads.

    A cancelled caller leaves at once. A write that was given up may still happen.

    Args:
        store: does the work.
        num_threads: calls of the store at once.
        read_timeout_s: of `get` and `link`.
        write_timeout_s: of `put` and `delete`.
    """

    def __init__(
        self, store: BlockingStore, *, num_threads: int, read_timeout_s: float, write_timeout_s: float
    ) -> None:
        self._store = store
        self._threads = ThreadPool(num_threads, "cache")
        self._read_timeout_s = read_timeout_s
        self._write_timeout_s = write_timeout_s

    @property
    def num_unfinished(self) -> int:
        """Calls that wait for a thread or have one, abandoned ones included."""
        return self._threads.num_unfinished

    async def get(self, key: Key) -> Packed | None:
        """Raises: StoreError."""
        return await self._threads.run(lambda: self._store.get(key), self._read_timeout_s)

    async def put(self, key: Key, entry: Packed) -> None:
        """Raises: StoreError."""
        await self._threads.run(lambda: self._store.put(key, entry), self._write_timeout_s)

    async def delete(self, key: Key) -> None:
        """Raises: StoreError."""
        await self._threads.run(lambda: self._store.delete(key), self._write_timeout_s)

    async def link(self, key: Key, expires_s: int, file_name: str) -> str | None:
        """Raises: StoreError."""
        return await self._threads.run(lambda: self._store.link(key, expires_s, file_name), self._read_timeout_s)

    async def close(self) -> None:
        """Drops what waits, lets what runs come to its end, and closes the store."""
        await self._threads.close()
        await asyncio.to_thread(self._store.close)
