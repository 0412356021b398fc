"""A store that never answers holds up neither the loop nor those who wait, and no thread outlives its store."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from serve_app.cache.entry import Packed
from serve_app.cache.keys import Key
from serve_app.stores.store import StoreBusy, StoreTimeout
from serve_app.stores.threads import ThreadedStore
from tests.serve_app.cache.cached import InMemory, key, packed


class Stuck(InMemory):
    """Reads that wait until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()
        self.asked = threading.Semaphore(0)
        self.num_calls = 0

    def get(self, key: Key) -> Packed | None:
        self.num_calls += 1
        self.asked.release()
        self.let_go.wait()
        return super().get(key)


def run(
    test: Callable[[Stuck, ThreadedStore], Coroutine[Any, Any, None]], *, num_threads: int = 2, timeout_s: float = 60.0
) -> None:
    async def within() -> None:
        stuck = Stuck()
        store = ThreadedStore(stuck, num_threads=num_threads, read_timeout_s=timeout_s, write_timeout_s=60)
        try:
            await test(stuck, store)
        finally:
            stuck.let_go.set()
            await store.close()
        assert store.num_unfinished == 0

    before = threading.active_count()
    asyncio.run(within())
    assert threading.active_count() <= before


def test_it_gives_what_the_store_gives() -> None:
    async def test(stuck: Stuck, store: ThreadedStore) -> None:
        stuck.let_go.set()
        await store.put(key(1), packed(b"x"))
        assert await store.get(key(1)) == packed(b"x")
        await store.delete(key(1))
        assert await store.get(key(1)) is None
        assert await store.link(key(1), 60, "x.wav") is None

    run(test)


def test_a_call_that_takes_too_long_is_left_and_others_are_served_meanwhile() -> None:
    async def test(stuck: Stuck, store: ThreadedStore) -> None:
        with pytest.raises(StoreTimeout, match=r"no answer within 0.02 s"):
            await store.get(key(1))
        await store.put(key(2), packed(b"x"))
        assert store.num_unfinished == 1

    run(test, timeout_s=0.02)


def test_beyond_a_short_queue_calls_fail_at_once() -> None:
    async def test(stuck: Stuck, store: ThreadedStore) -> None:
        waiting = [asyncio.create_task(store.get(key(1))) for _ in range(2 * 33)]
        await asyncio.sleep(0)
        with pytest.raises(StoreBusy, match="66 calls are unfinished"):
            await store.get(key(1))
        stuck.let_go.set()
        assert await asyncio.gather(*waiting) == [None] * 66
        assert await store.get(key(1)) is None

    run(test)


def test_who_is_cancelled_leaves_at_once_and_what_waited_is_never_called() -> None:
    async def test(stuck: Stuck, store: ThreadedStore) -> None:
        waiting = [asyncio.create_task(store.get(key(1))) for _ in range(5)]
        for _ in range(2):
            await asyncio.to_thread(stuck.asked.acquire)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert all(task.cancelled() for task in waiting)
        assert store.num_unfinished == 2
        stuck.let_go.set()
        assert await store.get(key(1)) is None
        assert stuck.num_calls == 3

    run(test)


def test_closing_drops_what_waits() -> None:
    async def test(stuck: Stuck, store: ThreadedStore) -> None:
        waiting = [asyncio.create_task(store.get(key(1))) for _ in range(5)]
        for _ in range(2):
            await asyncio.to_thread(stuck.asked.acquire)
        closing = asyncio.create_task(store.close())
        while sum(task.done() for task in waiting) < 3:
            await asyncio.sleep(0)
        stuck.let_go.set()
        await closing
        await asyncio.gather(*waiting, return_exceptions=True)
        assert stuck.num_calls == 2

    run(test)
