"""A call that never returns holds up neither the loop nor those who wait, and no result is lost on its way."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from serve_app.stores.store import StoreBusy, StoreTimeout
from serve_app.stores.threads import ThreadPool


class Door:
    """Calls that wait until it is opened, and what was made of their results."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.reached = threading.Semaphore(0)
        self.num_calls = 0
        self.undone: list[str] = []

    def call(self) -> str:
        self.num_calls += 1
        self.reached.release()
        self.opened.wait()
        return "through"


def run(test: Callable[[Door, ThreadPool], Coroutine[Any, Any, None]]) -> None:
    async def within() -> None:
        door, threads = Door(), ThreadPool(2, "test")
        try:
            await test(door, threads)
        finally:
            door.opened.set()
            await threads.close()
        assert threads.num_unfinished == 0

    before = threading.active_count()
    asyncio.run(within())
    assert threading.active_count() <= before


async def all_finished(threads: ThreadPool) -> None:
    while threads.num_unfinished:
        await asyncio.sleep(0.001)


def hold_up_the_loop_until_finished(threads: ThreadPool) -> None:
    while threads.num_unfinished:
        time.sleep(0.001)


def test_it_gives_what_the_call_gives_or_raises() -> None:
    async def test(door: Door, threads: ThreadPool) -> None:
        door.opened.set()
        assert await threads.run(door.call, 60, door.undone.append) == "through"
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 // 0, 60)
        assert door.undone == []

    run(test)


def test_a_result_that_comes_too_late_is_put_back() -> None:
    async def test(door: Door, threads: ThreadPool) -> None:
        with pytest.raises(StoreTimeout, match=r"no answer within 0.02 s"):
            await threads.run(door.call, 0.02, door.undone.append)
        assert await threads.run(lambda: "others are served", 60) == "others are served"
        door.opened.set()
        await all_finished(threads)
        assert door.undone == (["through"] if door.num_calls else [])

    run(test)


def test_the_result_of_one_who_was_cancelled_is_put_back_and_a_call_that_waits_is_never_made() -> None:
    async def test(door: Door, threads: ThreadPool) -> None:
        waiting = [asyncio.create_task(threads.run(door.call, 60, door.undone.append)) for _ in range(5)]
        for _ in range(2):
            await asyncio.to_thread(door.reached.acquire)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert all(task.cancelled() for task in waiting)
        assert threads.num_unfinished == 2
        door.opened.set()
        await all_finished(threads)
        assert door.undone == ["through"] * 2
        assert door.num_calls == 2

    run(test)


def test_a_result_that_is_there_when_the_cancel_comes_is_either_fetched_or_put_back() -> None:
    async def test(door: Door, threads: ThreadPool) -> None:
        door.opened.set()
        asking = asyncio.create_task(threads.run(door.call, 60, door.undone.append))
        await asyncio.sleep(0)
        hold_up_the_loop_until_finished(threads)
        asking.cancel()
        fetched = await asyncio.gather(asking, return_exceptions=True)
        await all_finished(threads)
        assert [*[each for each in fetched if isinstance(each, str)], *door.undone] == ["through"]

    run(test)


def test_beyond_a_short_queue_calls_fail_at_once() -> None:
    async def test(door: Door, threads: ThreadPool) -> None:
        waiting = [asyncio.create_task(threads.run(door.call, 60)) for _ in range(2 * 33)]
        await asyncio.sleep(0)
        with pytest.raises(StoreBusy, match="66 calls are unfinished"):
            await threads.run(door.call, 60)
        door.opened.set()
        assert await asyncio.gather(*waiting) == ["through"] * 66

    run(test)


def test_closing_drops_what_waits() -> None:
    async def test(door: Door, threads: ThreadPool) -> None:
        waiting = [asyncio.create_task(threads.run(door.call, 60, door.undone.append)) for _ in range(5)]
        for _ in range(2):
            await asyncio.to_thread(door.reached.acquire)
        closing = asyncio.create_task(threads.close())
        while sum(task.done() for task in waiting) < 3:
            await asyncio.sleep(0)
        door.opened.set()
        await closing
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert ends.count("through") == door.num_calls == 2
        assert door.undone == []

    run(test)
