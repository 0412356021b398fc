"""A store whose faults harm no request: what can't be read is a miss, and what can't be written is not kept.

Reading and writing fail apart (a full bucket can be read), so each has a breaker. While one is open its calls are not
made, and cost nothing; the trial that tells whether the store is back runs beside the request that it was due with.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from serve_app.cache.breaker import Breaker
from serve_app.cache.entry import Packed
from serve_app.cache.faults import Faults
from serve_app.cache.keys import Key
from serve_app.cache.store import Store, StoreBusy, StoreError

_Result = TypeVar("_Result")


class Guarded:
    """No method raises StoreError. clock: seconds, monotonic. jitter: in [0, 1), of the breakers."""

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
        self._reading = Breaker(clock, jitter)
        self._writing = Breaker(clock, jitter)
        self._trials: set[asyncio.Task[None]] = set()

    @property
    def is_up(self) -> bool:
        """Whether calls are made at all, as far as is known."""
        return not self._reading.is_open and not self._writing.is_open

    async def get(self, key: Key) -> Packed | None:
        """The entry; None where there is none, or no telling."""
        return await self._guarded("read", self._reading, lambda: self._store.get(key), None)

    async def put(self, key: Key, entry: Packed) -> bool:
        """Whether the entry is kept."""
        return await self._guarded("write", self._writing, lambda: _true(self._store.put(key, entry)), False)

    async def delete(self, key: Key) -> bool:
        """Whether the entry is gone."""
        return await self._guarded("write", self._writing, lambda: _true(self._store.delete(key)), False)

    async def link(self, key: Key, expires_s: int, file_name: str) -> str | None:
        """As `BlockingStore.link`; None also where no link can be made now."""
        return await self._guarded("read", self._reading, lambda: self._store.link(key, expires_s, file_name), None)

    async def trials(self) -> None:
        """Returns when the trials on their way have ended."""
        await asyncio.gather(*self._trials)

    async def close(self) -> None:
        """Ends the trials and closes the store."""
        for task in self._trials:
            task.cancel()
        await asyncio.gather(*self._trials, return_exceptions=True)
        await self._store.close()

    async def _guarded(
        self, what: str, breaker: Breaker, call: Callable[[], Coroutine[Any, Any, _Result]], otherwise: _Result
    ) -> _Result:
        if breaker.is_open:
            if breaker.take_trial():
                task = asyncio.create_task(self._try(what, breaker, call))
                self._trials.add(task)
                task.add_done_callback(self._trials.discard)
            self._faults.left_out(what)
            return otherwise
        try:
            result = await call()
        except StoreError as error:
            self._failed(what, breaker, error)
            return otherwise
        breaker.succeeded()
        return result

    async def _try(self, what: str, breaker: Breaker, call: Callable[[], Coroutine[Any, Any, _Result]]) -> None:
        try:
            await call()
        except StoreError as error:
            self._failed(what, breaker, error)
        except BaseException:
            breaker.drop_trial()
            raise
        else:
            breaker.succeeded()

    def _failed(self, what: str, breaker: Breaker, error: StoreError) -> None:
        self._faults.count(f"{what} {error.kind}", str(error))
        # A crowd before our own threads says nothing about the store.
        if isinstance(error, StoreBusy):
            breaker.drop_trial()
        else:
            breaker.failed()


async def _true(writing: Coroutine[Any, Any, None]) -> bool:
    await writing
    return True
