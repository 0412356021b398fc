"""How many requests of a key may be under way at once.

Places of one process.

Places of all processes that share a Redis.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from serve_app.auth.shared_redis import PREFIX, RedisDown, SharedRedis
from serve_app.tasks import Background, detached


class AtOnce(ABC):
    """limit: per key."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def place(self, key: str) -> Place:
        """One that is not taken yet. Whoever takes it releases it, whatever becomes of the taking."""
        return Place(self, key)

    @abstractmethod
    async def take(self, place: Place) -> bool: ...

    @abstractmethod
    def release(self, place: Place) -> None: ...


class Place:
    """One request's. name: like no other's."""

    def __init__(self, places: AtOnce, key: str) -> None:
        self.key = key
        self.name = secrets.token_hex(16)
        self._places = places

    async def take(self) -> bool:
        """Whether there was one. Raises: RedisDown; then it counts as soon as it can."""
        return await self._places.take(self)

    def release(self) -> None:
        """Gives it back if it is taken; nobody waits for that."""
        self._places.release(self)


class PlacesInMemory(AtOnce):
    """Where several processes serve, each has as many."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._taken: Counter[str] = Counter()
        self._places: set[str] = set()

    @property
    def num_taken(self) -> int:
        return len(self._places)

    async def take(self, place: Place) -> bool:
        if self._taken[place.key] >= self.limit:
            return False
        self._taken[place.key] += 1
        self._places.add(place.name)
        return True

    def release(self, place: Place) -> None:
        if place.name not in self._places:
            return
        self._places.remove(place.name)
        self._taken[place.key] -= 1
        if not self._taken[place.key]:
            del self._taken[place.key]


# A killed replica's places are free after this; a living one renews its own three times as often.
PLACE_S = 30.0
_RENEWALS_PER_PLACE = 3

# KEYS[1]: the places of a key, by the moment they expire, in ms of Redis' own clock, which all replicas share.
_NOW = """
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
"""
# ARGV: place, limit, ms. The number of places taken before; the place is taken where that is below the limit.
_TAKE = f"""{_NOW}
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
local taken = redis.call('ZCARD', KEYS[1])
if taken < tonumber(ARGV[2]) then
  redis.call('ZADD', KEYS[1], now_ms + ARGV[3], ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return taken
"""
# ARGV: ms, places. Also those that Redis has forgotten: it was started anew, or could not be reached for long.
_RENEW = f"""{_NOW}
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now_ms + ARGV[1], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""


class PlacesInRedis(AtOnce):
    """A place expires unless it is renewed, which is done until it is released.

    place_s: after which those of a killed process are free. sleep: waits for so many seconds.
    """

    def __init__(
        self,
        limit: int,
        redis: SharedRedis,
        *,
        place_s: float = PLACE_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(limit)
        self._redis = redis
        self._place_ms = round(1000 * place_s)
        self._sleep = sleep
        self._held: dict[str, str] = {}
        self._beside: set[asyncio.Task[None]] = set()
        self._renewing = Background(self._renew_for_ever)
        self._take = redis.client.register_script(_TAKE)
        self._renew = redis.client.register_script(_RENEW)

    @property
    def num_held(self) -> int:
        """By this process."""
        return len(self._held)

    def start(self) -> None:
        """Begins to renew what is held."""
        self._renewing.start()

    async def close(self) -> None:
        """Ends the renewals, and lets releases on their way come to their end."""
        try:
            await self._renewing.close()
        finally:
            await self.settled()

    async def settled(self) -> None:
        """Returns when nothing is on its way that nobody waits for."""
        await asyncio.gather(*self._beside)

    async def take(self, place: Place) -> bool:
        # Held from here on: where the answer is lost the place may be taken all the same, and is given back.
        self._held[place.name] = place.key
        arguments = (place.name, self.limit, self._place_ms)
        taken = int(await self._redis.ask(lambda: self._take(keys=[_redis_key(place.key)], args=arguments)))
        if taken < self.limit:
            return True
        del self._held[place.name]
        return False

    def release(self, place: Place) -> None:
        if self._held.pop(place.name, None) is not None:
            self._begin(self._forget(place.key, [place.name]))

    async def renew(self) -> None:
        """Renews all that is held."""
        by_key: defaultdict[str, list[str]] = defaultdict(list)
        for name, key in self._held.items():
            by_key[key].append(name)
        for key, names in by_key.items():
            renewal = functools.partial(self._renew, keys=[_redis_key(key)], args=[self._place_ms, *names])
            try:
                await self._redis.ask(renewal)
            except RedisDown:
                return  # counted; it lasts until it expires, and the next renewal makes it anew
            # One that was released meanwhile may have been given back before it was renewed.
            late = [name for name in names if name not in self._held]
            if late:
                await self._forget(key, late)

    async def _renew_for_ever(self) -> None:
        while True:
            await self._sleep(self._place_ms / 1000 / _RENEWALS_PER_PLACE)
            await self.renew()

    async def _forget(self, key: str, names: list[str]) -> None:
        try:
            await self._redis.ask(lambda: self._redis.client.zrem(_redis_key(key), *names))
        except RedisDown:
            return  # counted; they expire by themselves

    def _begin(self, call: Coroutine[Any, Any, None]) -> None:
        task = detached(call)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)


def _redis_key(key: str) -> str:
    return f"{PREFIX}:at-once:{key}"
