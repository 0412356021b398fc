"""Whether a request may have what it asks for now."""

from __future__ import annotations

import logging

from starlette.requests import Request

from deployments.logs.catalogue import LIMITS
from serve_app.access import windows
from serve_app.access.at_once import AtOnce
from serve_app.access.caller import Caller
from serve_app.access.limits import Limits
from serve_app.access.places_in_memory import PlacesInMemory
from serve_app.access.places_in_redis import PlacesInRedis
from serve_app.access.settings import LimitsSettings
from serve_app.access.shared_redis import PREFIX, RedisDown, SharedRedis
from serve_app.access.standing import Standing, headers
from serve_app.api.errors import RETRY_AFTER_S, NotReady, OverLimit


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
            self._places = PlacesInMemory(settings.at_once) if redis is None else PlacesInRedis(settings.at_once, redis)

    def start(self) -> None:
        """Says how it counts, and begins to renew what is held in Redis."""
        LIMITS.tell(self._log, how=self._how())
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
            await self._take_place(request, caller.key_id)
            await self._charge(request, caller.key_id, audio_s)
        except RedisDown:
            if self._settings.when_down == "closed":
                # No cause: it is counted and logged where it is known.
                raise NotReady("The limits can't be counted now: try again later.") from None
        state.audio_s = audio_s

    async def _take_place(self, request: Request, key: str) -> None:
        if self._places is None:
            return
        place = self._places.place(key)
        request.state.until_answered.callback(place.release)
        if not await place.take():
            limit = self._places.limit
            request.state.extra_headers.update(Standing("at_once", limit, 0, RETRY_AFTER_S).headers())
            raise OverLimit(
                f"The key may have {limit} requests under way at once, and has: try again when one has ended.",
                retry_after_s=RETRY_AFTER_S,
            )

    async def _charge(self, request: Request, key: str, audio_s: float) -> None:
        if not self._limits.is_set or audio_s <= 0:
            return
        if self._redis is None:
            charge = await self._limits.charge(key, audio_s)
        else:
            charge = await self._redis.ask(lambda: self._limits.charge(key, audio_s))
        request.state.extra_headers.update(headers(charge.standings))
        if charge.retry_after_s is not None:
            raise OverLimit(
                "The key has had its seconds of music for now: the headers say when there are more, and how many.",
                retry_after_s=charge.retry_after_s,
            )

    def _how(self) -> str:
        names = ("at_once", "audio_s_per_minute", "audio_s_per_day")
        limits = {name: getattr(self._settings, name) for name in names}
        set_ones = ", ".join(f"{name} {limit}" for name, limit in limits.items() if limit is not None)
        if not set_ones:
            return "none are set"
        if self._redis is None:
            return f"{set_ones} for each key; every ingress replica counts for itself: n of them allow n times that"
        otherwise = "let through uncounted" if self._settings.when_down == "open" else "answered 503"
        return (
            f"{set_ones} for each key, counted for all ingress replicas by the Redis at {self._redis.where}; "
            f"while it is down requests are {otherwise} (when_down: {self._settings.when_down})"
        )
