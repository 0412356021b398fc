from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from deployments.batching import Batcher, BatcherClosedError


class Doubler:
    """Doubles numbers, each batch only once it is let; remembers the batches. Raises `error` at the unlucky ones."""

    def __init__(self, *unlucky: int, error: type[BaseException] = ZeroDivisionError) -> None:
        self.unlucky = unlucky
        self.error = error
        self.batches: list[list[int]] = []
        self._begun = threading.Semaphore(0)
        self._may_go_on = threading.Semaphore(0)

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self._begun.release()
        assert self._may_go_on.acquire(timeout=30)
        for item in items:
            if item in self.unlucky:
                raise self.error(f"{item} is unlucky")
        return [2 * item for item in items]

    async def begun(self) -> None:
        """Returns when one batch more than at the last call has begun."""
        assert await asyncio.to_thread(self._begun.acquire, timeout=30)

    def go_on(self, num_batches: int = 1) -> None:
        self._may_go_on.release(num_batches)


@asynccontextmanager
async def batcher_of(
    work: Callable[[Sequence[int]], Sequence[int]], max_batch: int = 8
) -> AsyncIterator[Batcher[int, int]]:
    batcher = Batcher(work, max_batch=max_batch, name="doubler")
    try:
        yield batcher
        batcher.check_integrity()
    finally:
        await asyncio.to_thread(batcher.close)
    batcher.check_integrity()


async def queued(batcher: Batcher[int, int], *items: int) -> list[asyncio.Task[int]]:
    """One task for each item, all in the queue; the worker must be busy."""
    before = batcher.num_queued
    tasks = [asyncio.create_task(batcher.submit(item)) for item in items]
    await asyncio.sleep(0)
    assert batcher.num_queued == before + len(items)
    return tasks


async def running(batcher: Batcher[int, int], work: Doubler, item: int) -> asyncio.Task[int]:
    """A task whose item is being worked on."""
    task = asyncio.create_task(batcher.submit(item))
    await work.begun()
    return task


def test_an_item_alone_does_not_wait_for_company() -> None:
    async def scenario() -> None:
        work = Doubler()
        async with batcher_of(work) as batcher:
            task = await running(batcher, work, 1)
            work.go_on()
            assert await task == 2

    asyncio.run(scenario())


def test_what_arrives_while_a_batch_runs_is_the_next_batch() -> None:
    async def scenario() -> None:
        work = Doubler()
        async with batcher_of(work) as batcher:
            first = await running(batcher, work, 1)
            others = await queued(batcher, 2, 3, 4)
            assert (batcher.num_queued, batcher.num_running) == (3, 1)
            batcher.check_integrity()
            work.go_on(2)
            assert await asyncio.gather(first, *others) == [2, 4, 6, 8]
            assert (batcher.num_queued, batcher.num_running) == (0, 0)
        assert work.batches == [[1], [2, 3, 4]]

    asyncio.run(scenario())


def test_a_batch_is_no_larger_than_it_may_be_and_keeps_the_order() -> None:
    async def scenario() -> None:
        work = Doubler()
        async with batcher_of(work, max_batch=2) as batcher:
            tasks = [await running(batcher, work, 0), *await queued(batcher, 1, 2, 3, 4, 5)]
            work.go_on(4)
            assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8, 10]
        assert work.batches == [[0], [1, 2], [3, 4], [5]]

    asyncio.run(scenario())


def test_a_cancelled_item_whose_batch_has_not_begun_leaves_the_queue() -> None:
    async def scenario() -> None:
        work = Doubler()
        async with batcher_of(work) as batcher:
            first = await running(batcher, work, 1)
            second, third = await queued(batcher, 2, 3)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            assert batcher.num_queued == 1
            work.go_on(2)
            assert await asyncio.gather(first, third) == [2, 6]
        assert work.batches == [[1], [3]]

    asyncio.run(scenario())


def test_a_cancelled_item_of_the_running_batch_harms_nobody() -> None:
    async def scenario() -> None:
        work = Doubler()
        async with batcher_of(work) as batcher:
            first = await running(batcher, work, 1)
            second, third = await queued(batcher, 2, 3)
            work.go_on()
            await work.begun()
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            work.go_on()
            assert await asyncio.gather(first, third) == [2, 6]
        assert work.batches == [[1], [2, 3]]

    asyncio.run(scenario())


def test_all_cancelled_and_the_worker_still_serves_the_next() -> None:
    async def scenario() -> None:
        work = Doubler()
        async with batcher_of(work) as batcher:
            first = await running(batcher, work, 1)
            others = await queued(batcher, 2, 3)
            for task in others:
                task.cancel()
            await asyncio.wait(others)
            assert batcher.num_queued == 0
            work.go_on()
            assert await first == 2
            next_one = await running(batcher, work, 4)
            work.go_on()
            assert await next_one == 8
        assert work.batches == [[1], [4]]

    asyncio.run(scenario())


def test_a_bad_item_fails_alone_and_the_log_does_not_quote_it(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        work = Doubler(3)
        async with batcher_of(work) as batcher:
            tasks = [await running(batcher, work, 1), *await queued(batcher, 2, 3, 4)]
            work.go_on(5)
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [results[0], results[1], results[3]] == [2, 4, 8]
            assert isinstance(results[2], ZeroDivisionError)
        assert work.batches == [[1], [2, 3, 4], [2], [3], [4]]

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert caplog.messages == ["doubler: a batch of 3 failed (ZeroDivisionError); trying each alone"]


@pytest.mark.parametrize("error", [StopIteration, SystemExit, asyncio.CancelledError])
def test_an_exception_that_would_mislead_the_event_loop_comes_in_another(error: type[BaseException]) -> None:
    async def scenario() -> None:
        work = Doubler(1, error=error)
        async with batcher_of(work) as batcher:
            unlucky = await running(batcher, work, 1)
            work.go_on()
            with pytest.raises(RuntimeError, match=error.__name__) as caught:
                await unlucky
            assert isinstance(caught.value.__cause__, error)
            lucky = await running(batcher, work, 2)
            work.go_on()
            assert await lucky == 4

    asyncio.run(scenario())


def test_a_wrong_number_of_results_is_an_error_for_each() -> None:
    async def scenario() -> None:
        async with batcher_of(lambda items: [*items, 0]) as batcher:
            results = await asyncio.gather(batcher.submit(1), batcher.submit(2), return_exceptions=True)
        assert all(isinstance(result, RuntimeError) for result in results)
        assert "doubler returned" in str(results[0])

    asyncio.run(scenario())


def test_closing_fails_who_waits_and_lets_the_running_batch_finish() -> None:
    async def scenario() -> None:
        work = Doubler()
        async with batcher_of(work) as batcher:
            first = await running(batcher, work, 1)
            second, third = await queued(batcher, 2, 3)
            closing = asyncio.create_task(asyncio.to_thread(batcher.close))
            for task in (second, third):
                with pytest.raises(BatcherClosedError, match="doubler was closed"):
                    await task
            assert not closing.done()
            work.go_on()
            assert await first == 2
            await closing
            assert not any(thread.name == "doubler" for thread in threading.enumerate())
            with pytest.raises(BatcherClosedError, match="doubler is closed"):
                await batcher.submit(4)
        assert work.batches == [[1]]

    asyncio.run(scenario())


def test_the_work_runs_on_a_thread_of_its_own() -> None:
    names: list[str] = []

    def work(items: Sequence[int]) -> Sequence[int]:
        names.append(threading.current_thread().name)
        return items

    async def scenario() -> None:
        async with batcher_of(work) as batcher:
            await batcher.submit(1)
            await batcher.submit(2)

    asyncio.run(scenario())
    assert names == ["doubler", "doubler"]


def test_a_batch_of_nothing_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="max_batch"):
        Batcher(lambda items: items, max_batch=0, name="none")


def test_after_ten_thousand_random_submissions_and_cancellations_nothing_is_held() -> None:
    async def scenario() -> None:
        async with batcher_of(lambda items: [2 * item for item in items], max_batch=7) as batcher:
            answered = 0
            for start in range(0, 10_000, 100):
                tasks = [asyncio.create_task(batcher.submit(item)) for item in range(start, start + 100)]
                await asyncio.sleep(0)
                for task in tasks[start // 100 % 3 :: 3]:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
                batcher.check_integrity()
                for item, result in enumerate(results, start):
                    assert isinstance(result, asyncio.CancelledError) or result == 2 * item
                    answered += isinstance(result, int)
            assert answered >= 6_000
            assert (batcher.num_queued, batcher.num_running) == (0, 0)

    asyncio.run(scenario())
