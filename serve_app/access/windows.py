"""How much of something may be had in a stretch of time that moves on with the clock."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from typing import Any

from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter, RateLimiter, SlidingWindowCounterRateLimiter

from serve_app.access.standing import Standing

Storage = MemoryStorage | RedisStorage


class Window(ABC):
    """name: of the setting. Every call raises what the storage raises."""

    def __init__(self, name: str, limiter: RateLimiter, item: RateLimitItem) -> None:
        self.name = name
        self.limit = item.amount
        self._limiter = limiter
        self._item = item

    async def has(self, key: str, cost: int) -> bool:
        """Whether the key could have so much more now."""
        return await self._limiter.test(self._item, key, cost=cost)

    async def take(self, key: str, cost: int) -> bool:
        """Whether the key has it, counted; one that may not has nothing counted."""
        return await self._limiter.hit(self._item, key, cost=cost)

    async def standing(self, key: str) -> Standing:
        stats = await self._limiter.get_window_stats(self._item, key)
        used = stats.remaining < self.limit
        reset_s = max(0.0, stats.reset_time - time.time()) if used else 0.0
        return Standing(self.name, self.limit, max(0, stats.remaining), reset_s)

    @abstractmethod
    async def wait_s(self, key: str, cost: int) -> int:
        """After how many whole seconds, 1 or more, it could have so much, if it takes nothing else until then."""


class Minute(Window):
    """Exact: no sixty seconds ever have more than the limit. Takes memory for every second of music in it."""

    def __init__(self, name: str, storage: Storage, limit: int) -> None:
        super().__init__(name, MovingWindowRateLimiter(storage), RateLimitItemPerMinute(limit))
        self._storage = storage

    async def wait_s(self, key: str, cost: int) -> int:
        whole_s = self._item.get_expiry()
        low_s, high_s = 1, whole_s
        while low_s < high_s:
            middle_s = (low_s + high_s) // 2
            # What is still in the window then: what came since.
            _, used = await self._storage.get_moving_window(self._item.key_for(key), self.limit, whole_s - middle_s)
            low_s, high_s = (low_s, middle_s) if used <= self.limit - cost else (middle_s + 1, high_s)
        return low_s


class Day(Window):
    """Two numbers for each key: the day before counts by the part of it that is still within the last 24 hours, as if
    it had been spent evenly. In the long run no day has more than the limit; one after a late burst may.
    """

    def __init__(self, name: str, storage: Storage, limit: int) -> None:
        super().__init__(name, SlidingWindowCounterRateLimiter(storage), RateLimitItemPerDay(limit))
        self._storage = storage

    async def wait_s(self, key: str, cost: int) -> int:
        whole_s = self._item.get_expiry()
        before, before_left_s, current, current_left_s = await self._storage.get_sliding_window(
            self._item.key_for(key), whole_s
        )
        # It is granted once what counts of the day before is less than this.
        room = self.limit - cost - current + 1
        if before and room > 0:
            wait_s = before_left_s - whole_s * room / before
        elif current and room <= 0:
            # Once the current day has become the day before.
            wait_s = current_left_s - whole_s * (self.limit - cost + 1) / current
        else:
            wait_s = 0.0
        # The moment itself is too early, and floats may be a little off it.
        return max(1, math.floor(wait_s + 1e-3) + 1)


def memory() -> Storage:
    """For one process."""
    return MemoryStorage()


def redis(pool: Any, prefix: str) -> Storage:
    """For all that share the Redis of the connection pool."""
    return RedisStorage("redis://", implementation="redispy", key_prefix=prefix, connection_pool=pool)
