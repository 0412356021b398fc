"""How a key stands with one of its limits, and how the answer's headers say so.

How much of something may be had in a stretch of time that moves on with the clock.

How many seconds of music a key may ask for, per minute and per day.
"""

from __future__ import annotations

import asyncio
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter, RateLimiter, SlidingWindowCounterRateLimiter

from serve_app.errors import InvalidRequest
from serve_app.settings.application import LimitsSettings


@dataclass(frozen=True)
class Standing:
    """name: of the limit, as the settings have it. limit, remaining: requests or seconds of music, as the name says.
    reset_s: until there is more; 0 where all is there.
    """

    name: str
    limit: int
    remaining: int
    reset_s: float

    def headers(self) -> dict[str, str]:
        """The usual ones, and one that says which limit they are about."""
        return {
            "X-RateLimit-Policy": self.name,
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(math.ceil(self.reset_s)),
        }


def headers(standings: Sequence[Standing]) -> dict[str, str]:
    """Of the limit that is nearest to its end, by the share that remains; none where there is no limit."""
    if not standings:
        return {}
    return min(standings, key=lambda each: each.remaining / each.limit).headers()


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


@dataclass(frozen=True)
class Charge:
    """What came of asking. retry_after_s: None where it is granted; else after that long it may be."""

    standings: Sequence[Standing]
    retry_after_s: int | None = None


class Limits:
    """What is asked for counts when it is granted, in whole seconds, rounded up, and whatever becomes of it."""

    def __init__(self, settings: LimitsSettings, storage: Storage) -> None:
        self._windows: list[Window] = []
        if settings.audio_s_per_minute is not None:
            self._windows.append(Minute("audio_s_per_minute", storage, settings.audio_s_per_minute))
        if settings.audio_s_per_day is not None:
            self._windows.append(Day("audio_s_per_day", storage, settings.audio_s_per_day))

    @property
    def is_set(self) -> bool:
        """Whether there is any limit."""
        return bool(self._windows)

    def check_possible(self, audio_s: float) -> None:
        """Raises: InvalidRequest for more than is ever granted at once."""
        for window in self._windows:
            if _whole(audio_s) > window.limit:
                raise InvalidRequest(
                    f"This can never be granted: {window.name} is {window.limit} for this key, and the request alone "
                    f"asks for more seconds of music; ask for {window.limit} s at most."
                )

    async def charge(self, key: str, audio_s: float) -> Charge:
        """Grants it within all limits, or in none of them. Raises: what the storage raises."""
        cost = _whole(audio_s)
        # Looked at before any is charged: what one refuses is not to be missing in the other.
        if await self._all_have(key, cost) and await self._take(key, cost):
            return Charge(await self._standings(key))
        waits_s = [await each.wait_s(key, cost) for each in self._windows if not await each.has(key, cost)]
        # None refuses any more: another's charge came in between and has just left the window.
        return Charge(await self._standings(key), max(waits_s, default=1))

    async def _all_have(self, key: str, cost: int) -> bool:
        return all(await asyncio.gather(*(each.has(key, cost) for each in self._windows)))

    async def _take(self, key: str, cost: int) -> bool:
        """Where two ask at once and the second limit has only room for one, the other has been charged in the first: it
        is over the longer limit then, and misses nothing.
        """
        for each in self._windows:
            if not await each.take(key, cost):
                return False
        return True

    async def _standings(self, key: str) -> Sequence[Standing]:
        return await asyncio.gather(*(each.standing(key) for each in self._windows))


def _whole(audio_s: float) -> int:
    # A sum of durations in milliseconds may be off by a rounding error of floats.
    return math.ceil(round(audio_s, 3))
