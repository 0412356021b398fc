"""A guarded store raises nothing, says so once a minute, and costs nothing while it is down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from serve_app.cache.entry import Packed
from serve_app.cache.keys import Key
from serve_app.faults import Faults
from serve_app.stores.circuit_breaker import GuardedStore
from serve_app.stores.store import StoreBusy, StoreDenied, StoreError, StoreFull, StoreTimeout, StoreUnreachable
from tests.serve_app.cache.cached import Clock, InMemory, key, packed

ERRORS = [StoreUnreachable, StoreTimeout, StoreDenied, StoreFull, StoreError, StoreBusy]


class Failing:
    """A dictionary that raises what it is told to, on reading and on writing."""

    def __init__(self) -> None:
        self.inner = InMemory()
        self.on_read: BaseException | None = None
        self.on_write: BaseException | None = None
        self.num_calls = 0
        self.closed = False

    async def _called(self, error: BaseException | None) -> None:
        self.num_calls += 1
        await asyncio.sleep(0)
        if error is not None:
            raise error

    async def get(self, key: Key) -> Packed | None:
        await self._called(self.on_read)
        return self.inner.get(key)

    async def put(self, key: Key, entry: Packed) -> None:
        await self._called(self.on_write)
        self.inner.put(key, entry)

    async def delete(self, key: Key) -> None:
        await self._called(self.on_write)
        self.inner.delete(key)

    async def link(self, key: Key, expires_s: int, file_name: str) -> str | None:
        await self._called(self.on_read)
        return f"{key} {expires_s} {file_name}"

    async def close(self) -> None:
        self.closed = True


def run(test: Callable[[Failing, GuardedStore, Faults, Clock], Coroutine[Any, Any, None]]) -> None:
    async def within() -> None:
        store, clock = Failing(), Clock()
        faults = Faults(clock)
        guarded = GuardedStore(store, faults, clock=clock, jitter=lambda: 0.0)
        try:
            await test(store, guarded, faults, clock)
        finally:
            await guarded.close()
        assert store.closed
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(within())


@pytest.mark.parametrize("error", ERRORS)
def test_whatever_fails_is_a_miss_and_is_counted(error: type[StoreError]) -> None:
    async def test(store: Failing, guarded: GuardedStore, faults: Faults, clock: Clock) -> None:
        assert await guarded.put(key(1), packed(b"x"))
        store.on_read = store.on_write = error("why")
        assert await guarded.get(key(1)) is None
        assert await guarded.link(key(1), 60, "x.wav") is None
        assert not await guarded.put(key(1), packed(b"y"))
        assert not await guarded.delete(key(1))
        assert faults.counts == {f"read {error.kind}": 2, f"write {error.kind}": 2}
        store.on_read = store.on_write = None
        assert await guarded.get(key(1)) == packed(b"x")
        assert await guarded.link(key(1), 60, "x.wav") == f"{key(1)} 60 x.wav"

    run(test)


def test_what_is_no_fault_of_a_store_travels() -> None:
    async def test(store: Failing, guarded: GuardedStore, faults: Faults, clock: Clock) -> None:
        store.on_read = ZeroDivisionError()
        with pytest.raises(ZeroDivisionError):
            await guarded.get(key(1))

    run(test)


def test_a_store_that_is_down_is_asked_three_times_and_then_once_in_a_while_and_used_when_it_is_back() -> None:
    async def test(store: Failing, guarded: GuardedStore, faults: Faults, clock: Clock) -> None:
        await guarded.put(key(1), packed(b"x"))
        store.num_calls = 0
        store.on_read = StoreTimeout("slow")
        for _ in range(1000):
            assert await guarded.get(key(1)) is None
        assert store.num_calls == 3
        assert not guarded.is_up
        clock.now_s += 1
        # Whoever is there when a trial is due is served without it.
        for _ in range(1000):
            assert await guarded.get(key(1)) is None
        await guarded.trials()
        assert store.num_calls == 4
        store.on_read = None
        clock.now_s += 2
        assert await guarded.get(key(1)) is None
        await guarded.trials()
        assert guarded.is_up
        assert await guarded.get(key(1)) == packed(b"x")
        assert faults.counts == {"read timeout": 4, "read left out": 1998}

    run(test)


def test_a_store_that_is_full_is_still_read() -> None:
    async def test(store: Failing, guarded: GuardedStore, faults: Faults, clock: Clock) -> None:
        await guarded.put(key(1), packed(b"x"))
        store.on_write = StoreFull("full")
        for _ in range(10):
            assert not await guarded.put(key(2), packed(b"y"))
            assert await guarded.get(key(1)) == packed(b"x")
        store.on_write = None
        clock.now_s += 1
        assert not await guarded.put(key(2), packed(b"y"))
        await guarded.trials()
        assert await guarded.get(key(2)) == packed(b"y"), "the trial of a write keeps what was written"

    run(test)


def test_a_crowd_before_the_threads_does_not_open_the_breaker() -> None:
    async def test(store: Failing, guarded: GuardedStore, faults: Faults, clock: Clock) -> None:
        store.on_read = StoreBusy("66 calls")
        for _ in range(10):
            await guarded.get(key(1))
        assert guarded.is_up

    run(test)


@pytest.mark.filterwarnings("error")
def test_a_trial_that_is_cancelled_at_the_end_is_no_error() -> None:
    async def test(store: Failing, guarded: GuardedStore, faults: Faults, clock: Clock) -> None:
        store.on_read = StoreTimeout("slow")
        for _ in range(3):
            await guarded.get(key(1))
        clock.now_s += 1
        await guarded.get(key(1))

    run(test)


def test_a_trial_that_fails_for_another_reason_is_made_again() -> None:
    async def test(store: Failing, guarded: GuardedStore, faults: Faults, clock: Clock) -> None:
        store.on_read = StoreTimeout("slow")
        for _ in range(3):
            await guarded.get(key(1))
        clock.now_s += 1
        store.on_read = ZeroDivisionError()
        await guarded.get(key(1))
        with pytest.raises(ZeroDivisionError):
            await guarded.trials()
        store.on_read = None
        await guarded.get(key(1))
        await guarded.trials()
        assert guarded.is_up

    run(test)


def test_the_log_has_one_line_a_minute_for_each_kind(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    faults = Faults(clock)
    with caplog.at_level(logging.WARNING):
        for second in range(120):
            for _ in range(10):
                faults.count("read timeout", "no answer within 2 s")
            faults.count("write full", "S3 put: QuotaExceeded (403)")
            clock.now_s = 1_700_000_000.0 + second + 1
    assert [record.getMessage() for record in caplog.records] == [
        "store: read timeout: no answer within 2 s (1 since last told)",
        "store: write full: S3 put: QuotaExceeded (403) (1 since last told)",
        "store: read timeout: no answer within 2 s (600 since last told)",
        "store: write full: S3 put: QuotaExceeded (403) (60 since last told)",
    ]
    assert faults.counts == {"read timeout": 1200, "write full": 120}
