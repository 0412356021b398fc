"""Whether a request may have what it asks for now."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack

from starlette.requests import Request

from serve_app.access import windows
from serve_app.access.at_once import AtOnce, PlacesInMemory, PlacesInRedis
from serve_app.access.caller import Caller
from serve_app.access.limits import Charge, Limits
from serve_app.access.settings import LimitsSettings
from serve_app.access.shared_redis import PREFIX, RedisDown, SharedRedis
from serve_app.access.standing import Standing, headers
from serve_app.api.errors import RETRY_AFTER_S, NotReady, OverLimit

_Open = Callable[[], SharedRedis]


class Admission:
    """The limits of all keys. Without a Redis each process counts for itself.

    redis: that all share, None for memory. log: where it is said at the start how the counting is done.
    """

    def __init__(self, settings: LimitsSettings, redis: SharedRedis | None, log: logging.Logger) -> None:
        self._settings = settings
        self._redis = redis
        self._log = log
        storage = windows.memory() if redis is None else windows.redis(redis.pool, PREFIX)
        self._limits = Limits(settings, storage)
        self._places: AtOnce | None = None
        if settings.at_once is not None:
            self._places = (
                PlacesInMemory(settings.at_once) if redis is None else PlacesInRedis(settings.at_once, redis)
            )

    def start(self) -> None:
        """Says how it counts, and begins to renew what is held in Redis."""
        self._log.info("limits: %s", self._how())
        if isinstance(self._places, PlacesInRedis):
            self._places.start()

    async def close(self) -> None:
        if isinstance(self._places, PlacesInRedis):
            await self._places.close()
        if self._redis is not None:
            await self._redis.close()

    async def admit(self, request: Request, audio_s: float) -> None:
        """Charges the caller's key with so much music, 0 for none, and takes one of its places until the answer is
        over. Once for each request; the answer's headers tell how the key stands.

        Raises: InvalidRequest for what can never be granted; OverLimit; NotReady where Redis is down and the settings
        are closed then. A request that is refused is not charged.
        """
        state, caller = request.state, request.state.caller
        assert isinstance(caller, Caller)
        self._limits.check_possible(audio_s)
        try:
            await self._take_place(caller.key_id, state.until_answered)
            await self._charge(caller.key_id, audio_s, state.extra_headers)
        except RedisDown:
            if self._settings.when_down == "closed":
                # No cause: it is counted and logged where it is known.
                raise NotReady("The limits can't be counted now: try again later.") from None
        state.audio_s = audio_s

    async def _take_place(self, key: str, until_answered: AsyncExitStack) -> None:
        if self._places is None:
            return
        place = self._places.place(key)
        until_answered.callback(place.release)
        if not await place.take():
            limit = self._places.limit
            raise _over(
                f"The key has {limit} requests under way, as many as it may at once: try again when one has ended.",
                RETRY_AFTER_S,
            )
