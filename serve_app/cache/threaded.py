"""A blocking store behind an event loop: a few threads, a short queue, a time-out for each call.

Nobody can end a thread that waits for a dead server. So whoever waits for the thread leaves at the time-out, the thread
is busy until its own time-outs end it, and when all are busy the queue fills and further calls fail at once. Neither
the loop nor memory suffers, however slow the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from deployments.patience import within
from serve_app.cache.entry import Packed
from serve_app.cache.keys import Key
from serve_app.cache.store import BlockingStore, StoreBusy, StoreTimeout

# A burst that a healthy store works off in well under a second, not what gathers while a dead one is waited for.
_WAITING_PER_THREAD = 32

_Result = TypeVar("_Result")


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
