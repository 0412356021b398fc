"""Limits of music: how many seconds of it a key may ask for, per minute and per day, in windows that move on."""

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
class LimitStatus:
    """How much of one limit is left.

    Attributes:
        name: of the limit, as in the settings.
        limit: requests or seconds of music, as the name says.
        remaining: in the same unit.
        reset_s: until there is more; 0 where nothing is used.
    """

    name: str
    limit: int
    remaining: int
    reset_s: float

    def headers(self) -> dict[str, str]:
        """The usual X-RateLimit headers, and one that says which limit they are about."""
        return {
            "X-RateLimit-Policy": self.name,
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(math.ceil(self.reset_s)),
        }


def limit_headers(statuses: Sequence[LimitStatus]) -> dict[str, str]:
    """The headers of the limit with the smallest share left; none where there is no limit."""
    if not statuses:
        return {}
    return min(statuses, key=lambda each: each.remaining / each.limit).headers()


Storage = MemoryStorage | RedisStorage


class RateWindow(ABC):
    """One limit in one window of time. Every call raises what the storage raises."""

    def __init__(self, name: str, limiter: RateLimiter, item: RateLimitItem) -> None:
        self.name = name
        self.limit = item.amount
        self._limiter = limiter
        self._item = item

    async def allows(self, key: str, cost: int) -> bool:
        """Whether the key could be charged so much now."""
        return await self._limiter.test(self._item, key, cost=cost)

    async def charge(self, key: str, cost: int) -> bool:
        """Charges the key if the limit allows it; whether it did."""
        return await self._limiter.hit(self._item, key, cost=cost)

    async def status(self, key: str) -> LimitStatus:
        stats = await self._limiter.get_window_stats(self._item, key)
        used = stats.remaining < self.limit
        reset_s = max(0.0, stats.reset_time - time.time()) if used else 0.0
        return LimitStatus(self.name, self.limit, max(0, stats.remaining), reset_s)

    @abstractmethod
    async def wait_s(self, key: str, cost: int) -> int:
        """After how many whole seconds, 1 or more, the key could be charged so much, if nothing else is."""


class MinuteWindow(RateWindow):
    """Exact: no sixty seconds ever exceed the limit. It takes memory for every second of music in the window."""

    def __init__(self, name: str, storage: Storage, limit: int) -> None:
        super().__init__(name, MovingWindowRateLimiter(storage), RateLimitItemPerMinute(limit))
        self._storage = storage

    async def wait_s(self, key: str, cost: int) -> int:
        whole_s = self._item.get_expiry()
        low_s, high_s = 1, whole_s
        while low_s < high_s:
            middle_s = (low_s + high_s) // 2
            # What is still in the window then: what was charged since.
            _, used = await self._storage.get_moving_window(self._item.key_for(key), self.limit, whole_s - middle_s)
            low_s, high_s = (low_s, middle_s) if used <= self.limit - cost else (middle_s + 1, high_s)
        return low_s


class DayWindow(RateWindow):
    """Approximate, with two numbers for each key: this day's sum, and the day's before it.

    The day before counts by the share of it that is still within the last 24 hours, as if it had been spent evenly. In
    the long run no day exceeds the limit; the 24 hours after a late burst may.
    """

    def __init__(self, name: str, storage: Storage, limit: int) -> None:
        super().__init__(name, SlidingWindowCounterRateLimiter(storage), RateLimitItemPerDay(limit))
        self._storage = storage

    async def wait_s(self, key: str, cost: int) -> int:
        whole_s = self._item.get_expiry()
        before, before_left_s, current, current_left_s = await self._storage.get_sliding_window(
            self._item.key_for(key), whole_s
        )
        # The charge is granted once the weighted sum of the day before is below this.
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


def in_memory_storage() -> Storage:
    """Counts in this process."""
    return MemoryStorage()


def redis_storage(pool: Any, prefix: str) -> Storage:
    """Counts in the Redis of this connection pool."""
    return RedisStorage("redis://", implementation="redispy", key_prefix=prefix, connection_pool=pool)


@dataclass(frozen=True)
class ChargeResult:
    """The outcome of a charge. retry_after_s: None where it was granted, else when it may be."""

    statuses: Sequence[LimitStatus]
    retry_after_s: int | None = None


class AudioLimits:
    """Charges what is asked for when it is granted, in whole seconds, rounded up, whatever the request's outcome."""

    def __init__(self, settings: LimitsSettings, storage: Storage) -> None:
        self._windows: list[RateWindow] = []
        if settings.audio_s_per_minute is not None:
            self._windows.append(MinuteWindow("audio_s_per_minute", storage, settings.audio_s_per_minute))
        if settings.audio_s_per_day is not None:
            self._windows.append(DayWindow("audio_s_per_day", storage, settings.audio_s_per_day))

    @property
    def is_set(self) -> bool:
        """Whether there is a limit at all."""
        return bool(self._windows)

    def check_possible(self, audio_s: float) -> None:
        """Raises: InvalidRequest for more than any window grants at once."""
        for window in self._windows:
            if _whole(audio_s) > window.limit:
                raise InvalidRequest(
                    f"This can never be granted: {window.name} is {window.limit} for this key, and the request alone "
                    f"asks for more seconds of music; ask for {window.limit} s at most."
                )

    async def charge(self, key: str, audio_s: float) -> ChargeResult:
        """Charges all windows, or none where one refuses. Raises: what the storage raises."""
        cost = _whole(audio_s)
        # All are checked before any is charged, so that a refusal by one leaves the others uncharged.
        if await self._all_allow(key, cost) and await self._charge_all(key, cost):
            return ChargeResult(await self._statuses(key))
        waits_s = [await each.wait_s(key, cost) for each in self._windows if not await each.allows(key, cost)]
        # Where none refuses any more, another request's charge came in between and has just left the window.
        return ChargeResult(await self._statuses(key), max(waits_s, default=1))

    async def _all_allow(self, key: str, cost: int) -> bool:
        return all(await asyncio.gather(*(each.allows(key, cost) for each in self._windows)))

    async def _charge_all(self, key: str, cost: int) -> bool:
        """Where two requests race and the second window has room for one, the other stays charged in the first.

        That does no harm: it is over the longer limit then.
        """
        for each in self._windows:
            if not await each.charge(key, cost):
                return False
        return True

    async def _statuses(self, key: str) -> Sequence[LimitStatus]:
        return await asyncio.gather(*(each.status(key) for each in self._windows))


def _whole(audio_s: float) -> int:
    # A sum of durations in milliseconds may be off by a rounding error of floats.
    return math.ceil(round(audio_s, 3))
