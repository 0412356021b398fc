"""Calls that block, made from an event loop: a few threads, a short queue, a time-out for each call.

Nobody can end a thread that waits for a dead server. So whoever waits for the thread leaves at the time-out, the thread
is busy until its own time-outs end it, and when all are busy the queue fills and further calls fail at once.

A blocking store behind an event loop: a few threads, a short queue, a time-out for each call.

Nobody can end a thread that waits for a dead server. So whoever waits for the thread leaves at the time-out, the thread
is busy until its own time-outs end it, and when all are busy the queue fills and further calls fail at once. Neither
the loop nor memory suffers, however slow the store.
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

# A burst that a healthy store works off in well under a second, not what gathers while a dead one is waited for.
_WAITING_PER_THREAD = 32

_Result = TypeVar("_Result")


class _Errand(Generic[_Result]):
    """A call whose result is either fetched or, where whoever sent for it has left, put back."""

    def __init__(self, call: Callable[[], _Result], put_back: Callable[[_Result], None]) -> None:
        self._call = call
        self._put_back = put_back
        self._lock = threading.Lock()
        self._has_left = False
        self._results: list[_Result] = []

    def run(self) -> _Result:
        """In a thread."""
        result = self._call()
        with self._lock:
            self._results.append(result)
            unwanted = self._has_left
        if unwanted:
            self._put_back(result)
        return result

    def leave(self) -> Callable[[], None] | None:
        """Nobody fetches the result. What is to be done about one that is there already, in a thread; None: nothing."""
        with self._lock:
            self._has_left = True
            if not self._results:
                return None
        return lambda: self._put_back(self._results[0])


class Threads:
    """name: what the threads are called."""

    def __init__(self, num_threads: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix=name)
        self._unfinished: set[Future[Any]] = set()
        self._max_unfinished = num_threads * (1 + _WAITING_PER_THREAD)
        self._is_closed = False

    @property
    def num_unfinished(self) -> int:
        """Calls that wait for a thread or have one, given up or not."""
        return len(self._unfinished)

    async def run(
        self,
        call: Callable[[], _Result],
        timeout_s: float,
        put_back: Callable[[_Result], None] = lambda _: None,
    ) -> _Result:
        """What the call gives. Who is cancelled leaves at once; a call that waits for a thread is then never made.

        put_back: is called in a thread with a result that came too late, or for one who was cancelled. It raises
        nothing. Raises: StoreBusy, StoreTimeout, and what the call raises.
        """
        if len(self._unfinished) >= self._max_unfinished:
            raise StoreBusy(f"{len(self._unfinished)} calls are unfinished")
        errand = _Errand(call, put_back)
        result = asyncio.wrap_future(self._submit(errand.run))
        try:
            return await within(result, timeout_s)
        except asyncio.TimeoutError as error:
            self._leave(errand)
            raise StoreTimeout(f"no answer within {timeout_s:g} s") from error
        except asyncio.CancelledError:
            self._leave(errand)
            if result.done() and not result.cancelled():
                result.exception()  # nobody is left to hear of it
            raise

    async def close(self) -> None:
        """Drops what waits, and lets what runs come to its end."""
        self._is_closed = True
        # Shut down in another thread: it waits for them, and the loop must not.
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)

    def _leave(self, errand: _Errand[Any]) -> None:
        putting_back = errand.leave()
        if putting_back is not None and not self._is_closed:
            self._submit(putting_back)

    def _submit(self, call: Callable[[], _Result]) -> Future[_Result]:
        future = self._threads.submit(call)
        self._unfinished.add(future)
        # Called once, whether it ran or was cancelled while it waited; `discard` is atomic.
        future.add_done_callback(self._unfinished.discard)
        return future


class Threaded:
    """read_timeout_s: of `get` and `link`; write_timeout_s: of `put` and `delete`; both from the call on.

    Whoever is cancelled leaves at once. A write given up may still come to pass.
    """

    def __init__(
        self, store: BlockingStore, *, num_threads: int, read_timeout_s: float, write_timeout_s: float
    ) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="cache")
        self._unfinished: set[Future[Any]] = set()
        self._max_unfinished = num_threads * (1 + _WAITING_PER_THREAD)
        self._read_timeout_s = read_timeout_s
        self._write_timeout_s = write_timeout_s

    @property
    def num_unfinished(self) -> int:
        """Calls that wait for a thread or have one, given up or not."""
        return len(self._unfinished)

    async def get(self, key: Key) -> Packed | None:
        """Raises: StoreError."""
        return await self._run(lambda: self._store.get(key), self._read_timeout_s)

    async def put(self, key: Key, entry: Packed) -> None:
        """Raises: StoreError."""
        await self._run(lambda: self._store.put(key, entry), self._write_timeout_s)

    async def delete(self, key: Key) -> None:
        """Raises: StoreError."""
        await self._run(lambda: self._store.delete(key), self._write_timeout_s)

    async def link(self, key: Key, expires_s: int, file_name: str) -> str | None:
        """Raises: StoreError."""
        return await self._run(lambda: self._store.link(key, expires_s, file_name), self._read_timeout_s)

    async def close(self) -> None:
        """Drops what waits, lets what runs come to its end, and closes the store."""
        # As many threads as there are shut down in another one: it waits for them, and the loop must not.
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)
        await asyncio.to_thread(self._store.close)

    async def _run(self, call: Callable[[], _Result], timeout_s: float) -> _Result:
        if len(self._unfinished) >= self._max_unfinished:
            raise StoreBusy(f"{len(self._unfinished)} calls of the store are unfinished")
        future = self._threads.submit(call)
        self._unfinished.add(future)
        # Called once, whether it ran or was cancelled while it waited; `discard` is atomic.
        future.add_done_callback(self._unfinished.discard)
        try:
            return await within(asyncio.wrap_future(future), timeout_s)
        except asyncio.TimeoutError as error:
            raise StoreTimeout(f"no answer within {timeout_s:g} s") from error
