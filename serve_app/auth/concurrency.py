"""The concurrency limit: how many requests of a key may be in progress at once.

Each request takes a slot, counted in the memory of one process, or in a Redis that all processes share.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable

from serve_app.auth.shared_redis import PREFIX, RedisDown, SharedRedis
from serve_app.tasks import BackgroundTask, detached


class ConcurrencyLimit(ABC):
    """A limit of requests in progress, per key."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def slot(self, key: str) -> ConcurrencySlot:
        """A slot that is not acquired yet. The caller releases it, whatever the outcome of `acquire`."""
        return ConcurrencySlot(self, key)

    @abstractmethod
    async def acquire(self, slot: ConcurrencySlot) -> bool: ...

    @abstractmethod
    def release(self, slot: ConcurrencySlot) -> None: ...


class ConcurrencySlot:
    """One request's slot. Its name is unique."""

    def __init__(self, limit: ConcurrencyLimit, key: str) -> None:
        self.key = key
        self.name = secrets.token_hex(16)
        self._limit = limit

    async def acquire(self) -> bool:
        """Whether a slot was free. Raises: RedisDown; the slot is then counted as soon as Redis is back."""
        return await self._limit.acquire(self)

    def release(self) -> None:
        """Gives the slot back if it is held, without waiting for Redis."""
        self._limit.release(self)


class InMemoryConcurrencyLimit(ConcurrencyLimit):
    """Counts in this process: with n processes, a key may have n times the limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._num_held_by: Counter[str] = Counter()
        self._held: set[str] = set()

    @property
    def num_held(self) -> int:
        """Slots held now, of all keys."""
        return len(self._held)

    async def acquire(self, slot: ConcurrencySlot) -> bool:
        if self._num_held_by[slot.key] >= self.limit:
            return False
        self._num_held_by[slot.key] += 1
        self._held.add(slot.name)
        return True

    def release(self, slot: ConcurrencySlot) -> None:
        if slot.name not in self._held:
            return
        self._held.remove(slot.name)
        self._num_held_by[slot.key] -= 1
        if not self._num_held_by[slot.key]:
            del self._num_held_by[slot.key]


# A killed replica's slots are free after this; a living replica renews its own three times as often.
SLOT_EXPIRY_S = 30.0
_RENEWALS_PER_EXPIRY = 3

# KEYS[1]: the slots of a key, by the moment they expire, in ms of Redis' own clock, which all replicas share.
_NOW = """
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
"""
# ARGV: slot, limit, ms. Returns the number of slots held before; acquires one where that is below the limit.
_ACQUIRE = f"""{_NOW}
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
local held = redis.call('ZCARD', KEYS[1])
if held < tonumber(ARGV[2]) then
  redis.call('ZADD', KEYS[1], now_ms + ARGV[3], ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return held
"""
# ARGV: ms, slots. It brings back those that Redis has lost in a restart, or that expired while it was unreachable.
_RENEW = f"""{_NOW}
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now_ms + ARGV[1], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""


class RedisConcurrencyLimit(ConcurrencyLimit):
    """Counts in Redis. A slot expires unless its process renews it, which it does until the slot is released.

    Args:
        slot_expiry_s: after this time without renewal a slot is free, such as those of a killed process.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        limit: int,
        redis: SharedRedis,
        *,
        slot_expiry_s: float = SLOT_EXPIRY_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(limit)
        self._redis = redis
        self._expiry_ms = round(1000 * slot_expiry_s)
        self._sleep = sleep
        self._held: dict[str, str] = {}
        self._releasing: set[asyncio.Task[None]] = set()
        self._renewing = BackgroundTask(self._renew_for_ever)
        self._acquire = redis.client.register_script(_ACQUIRE)
        self._renew = redis.client.register_script(_RENEW)

    @property
    def num_held(self) -> int:
        """Slots held by this process."""
        return len(self._held)

    def start(self) -> None:
        """Begins to renew the slots that are held."""
        self._renewing.start()

    async def close(self) -> None:
        """Ends the renewals, and waits for the releases in progress."""
        try:
            await self._renewing.close()
        finally:
            await self.settled()

    async def settled(self) -> None:
        """Returns when the releases in progress have ended."""
        await asyncio.gather(*self._releasing)

    async def acquire(self, slot: ConcurrencySlot) -> bool:
        # Held from here on: where the answer is lost, Redis may have counted it all the same.
        self._held[slot.name] = slot.key
        arguments = (slot.name, self.limit, self._expiry_ms)
        held = int(await self._redis.call(lambda: self._acquire(keys=[_redis_key(slot.key)], args=arguments)))
        if held < self.limit:
            return True
        del self._held[slot.name]
        return False

    def release(self, slot: ConcurrencySlot) -> None:
        if self._held.pop(slot.name, None) is not None:
            task = detached(self._remove(slot.key, [slot.name]))
            self._releasing.add(task)
            task.add_done_callback(self._releasing.discard)

    async def renew(self) -> None:
        """Renews all slots that are held."""
        by_key: defaultdict[str, list[str]] = defaultdict(list)
        for name, key in self._held.items():
            by_key[key].append(name)
        for key, names in by_key.items():
            renewal = functools.partial(self._renew, keys=[_redis_key(key)], args=[self._expiry_ms, *names])
            try:
                await self._redis.call(renewal)
            except RedisDown:
                return  # counted as a fault; the next renewal brings back what has expired
            # A slot that was released meanwhile may have been removed before it was renewed.
            late = [name for name in names if name not in self._held]
            if late:
                await self._remove(key, late)

    async def _renew_for_ever(self) -> None:
        while True:
            await self._sleep(self._expiry_ms / 1000 / _RENEWALS_PER_EXPIRY)
            await self.renew()

    async def _remove(self, key: str, names: list[str]) -> None:
        try:
            await self._redis.call(lambda: self._redis.client.zrem(_redis_key(key), *names))
        except RedisDown:
            return  # counted as a fault; the slots expire by themselves


def _redis_key(key: str) -> str:
    return f"{PREFIX}:at-once:{key}"
