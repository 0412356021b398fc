"""A circuit breaker, and a store behind one: its faults fail no request.

What cannot be read is a miss, and what cannot be written is not cached. Reading and writing fail independently (a full
bucket can be read), so each has a breaker. While a breaker is open its calls are skipped; the trial that shows whether
the store is back runs in the background.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from serve_app.cache.entry import Packed
from serve_app.cache.keys import Key
from serve_app.faults import Faults
from serve_app.stores.store import Store, StoreBusy, StoreError

FAILURES_TO_OPEN = 3
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 30.0


class CircuitBreaker:
    """Closed: calls are made. Open, after three failures in a row: no call is made but one trial at a time.

    A trial is due after a wait that doubles from one second to thirty while trials fail. Each wait is shortened at
    random by up to a half, so that replicas do not all try at once.

    Args:
        clock: seconds, monotonic.
        jitter: a random number in [0, 1).
    """

    def __init__(self, clock: Callable[[], float], jitter: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._jitter = jitter
        self._failures = 0
        self._wait_s = _FIRST_WAIT_S
        self._next_trial_s = 0.0
        self._on_trial = False

    @property
    def is_open(self) -> bool:
        return self._failures >= FAILURES_TO_OPEN

    def take_trial(self) -> bool:
        """Whether a trial is due. Then the caller makes it, and reports how it went or calls `drop_trial`."""
        if not self.is_open or self._on_trial or self._clock() < self._next_trial_s:
            return False
        self._on_trial = True
        return True

    def drop_trial(self) -> None:
        """The trial has no result; the next caller makes another."""
        self._on_trial = False

    def succeeded(self) -> None:
        self._failures = 0
        self._wait_s = _FIRST_WAIT_S
        self._on_trial = False

    def failed(self) -> None:
        was_open = self.is_open
        self._failures += 1
        # The failure of a call made before the breaker opened says nothing new.
        if was_open and not self._on_trial:
            return
        if was_open:
            self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
        self._on_trial = False
        self._next_trial_s = self._clock() + self._wait_s * (1 - self._jitter() / 2)


_Result = TypeVar("_Result")


class GuardedStore:
    """A store whose methods never raise StoreError; faults are counted. clock, jitter: as `CircuitBreaker`."""

    def __init__(
        self,
        store: Store,
        faults: Faults,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._faults = faults
        self._reading = CircuitBreaker(clock, jitter)
        self._writing = CircuitBreaker(clock, jitter)
        self._trials: set[asyncio.Task[None]] = set()

    @property
    def is_up(self) -> bool:
        """Whether calls are made: no breaker is open."""
        return not self._reading.is_open and not self._writing.is_open

    async def get(self, key: Key) -> Packed | None:
        """The entry; None where there is none, or where that is not known."""
        return await self._guarded("read", self._reading, lambda: self._store.get(key), None)

    async def put(self, key: Key, entry: Packed) -> bool:
        """Whether the entry is stored."""
        return await self._guarded("write", self._writing, lambda: _true(self._store.put(key, entry)), False)

    async def delete(self, key: Key) -> bool:
        """Whether the entry is gone."""
        return await self._guarded("write", self._writing, lambda: _true(self._store.delete(key)), False)

    async def link(self, key: Key, expires_s: int, file_name: str) -> str | None:
        """As `BlockingStore.link`; None also where no link can be made now."""
        return await self._guarded("read", self._reading, lambda: self._store.link(key, expires_s, file_name), None)

    async def trials(self) -> None:
        """Returns when the running trials have ended."""
        await asyncio.gather(*self._trials)

    async def close(self) -> None:
        """Cancels the trials and closes the store."""
        for task in self._trials:
            task.cancel()
        await asyncio.gather(*self._trials, return_exceptions=True)
        await self._store.close()

    async def _guarded(
        self, what: str, breaker: CircuitBreaker, call: Callable[[], Coroutine[Any, Any, _Result]], fallback: _Result
    ) -> _Result:
        if breaker.is_open:
            if breaker.take_trial():
                task = asyncio.create_task(self._try(what, breaker, call))
                self._trials.add(task)
                task.add_done_callback(self._trials.discard)
            self._faults.left_out(what)
            return fallback
        try:
            result = await call()
        except StoreError as error:
            self._failed(what, breaker, error)
            return fallback
        breaker.succeeded()
        return result

    async def _try(self, what: str, breaker: CircuitBreaker, call: Callable[[], Coroutine[Any, Any, _Result]]) -> None:
        try:
            await call()
        except StoreError as error:
            self._failed(what, breaker, error)
        except BaseException:
            breaker.drop_trial()
            raise
        else:
            breaker.succeeded()

    def _failed(self, what: str, breaker: CircuitBreaker, error: StoreError) -> None:
        self._faults.count(f"{what} {error.kind}", str(error))
        # That our own threads are busy says nothing about the store.
        if isinstance(error, StoreBusy):
            breaker.drop_trial()
        else:
            breaker.failed()


async def _true(writing: Coroutine[Any, Any, None]) -> bool:
    await writing
    return True
