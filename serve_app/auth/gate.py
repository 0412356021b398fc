"""Whether a request may have what it asks for now.

How many wrong API keys came from one client address. It never stands in the way of a right one.

All that stands between a request and the service: put together, begun and ended as one.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from contextlib import AsyncExitStack
from logging import INFO

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter
from starlette.requests import Request

from deployments.telemetry.log_event import LogEvent
from serve_app.auth import limits as windows
from serve_app.auth.audit import Audit, AuditLines
from serve_app.auth.concurrency import AtOnce, PlacesInMemory, PlacesInRedis
from serve_app.auth.keys import Keyring, Keys
from serve_app.auth.limits import Limits, Standing, headers
from serve_app.auth.prompt_policy import Policy, load
from serve_app.auth.shared_redis import PREFIX, TIMEOUT_S, RedisDown, SharedRedis
from serve_app.errors import RETRY_AFTER_S, NotReady, OverLimit
from serve_app.faults import Faults
from serve_app.identity import Caller
from serve_app.settings.application import AccessSettings, LimitsSettings
from serve_app.stores.threads import Threads

LIMITS = LogEvent("limits", INFO, "limits: %(how)s", "At a start: which limits hold, and where they are counted.")


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


PER_MINUTE = 100
# Addresses share this many counts, so that a client of many addresses takes no memory; each process has its own split.
_NUM_COUNTS = 1024
# What one customer has of IPv6.
_IPV6_PREFIX = 64


class Failures:
    """Counts by address, a network's addresses together where they are of IPv6. Two that share a count by chance only
    hear of their failures earlier. per_minute: that are too many."""

    def __init__(self, per_minute: int = PER_MINUTE) -> None:
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._limit = RateLimitItemPerMinute(per_minute)

    async def count(self, address: str) -> float | None:
        """Counts one. How many seconds the address should wait, where it has had too many; else None."""
        count = str(hash(_network(address)) % _NUM_COUNTS)
        if await self._limiter.hit(self._limit, count):
            return None
        stats = await self._limiter.get_window_stats(self._limit, count)
        return max(1.0, stats.reset_time - time.time())


def _network(address: str) -> str:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    return address if ip.version == 4 else str(ipaddress.ip_network((ip, _IPV6_PREFIX), strict=False))


_log = logging.getLogger("ray.serve.access")  # below Serve's own, whose files and format it shares

_POLICY_THREADS = 4


class Gate:
    """keyring: None where no keys are asked for. policy: None where there is none. faults: what went wrong, counted.

    keys, lines: where API keys and audit records are kept; nothing is read or connected to before `start`. timeout_s,
    redis_timeout_s: of a call of theirs, and of Redis.
    Raises: PolicyError where the policy's function is not there.
    """

    def __init__(
        self,
        settings: AccessSettings,
        keys: Keys,
        lines: AuditLines,
        *,
        timeout_s: float,
        redis_timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.settings = settings
        self.faults = Faults(time.monotonic, _log, of="access")
        self.failures = Failures()
        self.keyring: Keyring | None = None
        if settings.keys == "required":
            # Each with a thread of its own: where one waits for the records, the others need not.
            self.keyring = Keyring(keys, Threads(1, "keys"), self.faults, timeout_s=timeout_s)
        self.policy: Policy | None = None
        if settings.policy is not None:
            self.policy = Policy(load(settings.policy), Threads(_POLICY_THREADS, "policy"), self.faults)
        storage = settings.limits.storage
        redis = (
            None
            if storage.get_secret_value() == "memory"
            else SharedRedis(storage, self.faults, timeout_s=redis_timeout_s)
        )
        self.admission = Admission(settings.limits, redis, _log)
        self.audit = Audit(lines, Threads(1, "audit"), self.faults, settings.audit)

    def start(self) -> None:
        """Begins what runs beside the requests, in the event loop that serves them."""
        self.admission.start()
        self.audit.start()
        if self.keyring is not None:
            self.keyring.start()

    async def close(self) -> None:
        """Ends it; what is to be written down is written, as far as that can be done now."""
        async with AsyncExitStack() as closing:
            closing.push_async_callback(self.audit.close)
            closing.push_async_callback(self.admission.close)
            for each in (self.policy, self.keyring):
                if each is not None:
                    closing.push_async_callback(each.close)
