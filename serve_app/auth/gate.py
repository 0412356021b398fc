"""The gate: all that decides whether a request may pass, put together, started and closed as one.

It holds the API keys, the limits of each key, the operator's prompt policy, the limit of wrong keys from one address,
and the audit.
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
from serve_app.auth.audit import Audit, AuditStore
from serve_app.auth.concurrency import ConcurrencyLimit, InMemoryConcurrencyLimit, RedisConcurrencyLimit
from serve_app.auth.keys import ApiKeyCache, KeyStore
from serve_app.auth.limits import AudioLimits, LimitStatus, in_memory_storage, limit_headers, redis_storage
from serve_app.auth.prompt_policy import PromptPolicy, load_policy
from serve_app.auth.shared_redis import PREFIX, TIMEOUT_S, RedisDown, SharedRedis
from serve_app.errors import RETRY_AFTER_S, NotReady, OverLimit
from serve_app.faults import Faults
from serve_app.identity import Caller
from serve_app.settings.application import AuthSettings, LimitsSettings
from serve_app.stores.threads import ThreadPool

LIMITS = LogEvent("limits", INFO, "limits: %(how)s", "At a start: which limits hold, and where they are counted.")


class Admission:
    """Admission control: the limits of all keys.

    Args:
        redis: counts for all processes; without one each process counts for itself.
        log: gets a line at the start on how the counting is done.
    """

    def __init__(self, settings: LimitsSettings, redis: SharedRedis | None, log: logging.Logger) -> None:
        self._settings = settings
        self._redis = redis
        self._log = log
        storage = in_memory_storage() if redis is None else redis_storage(redis.pool, PREFIX)
        self._limits = AudioLimits(settings, storage)
        self._concurrency: ConcurrencyLimit | None = None
        if (at_once := settings.at_once) is not None:
            self._concurrency = (
                InMemoryConcurrencyLimit(at_once) if redis is None else RedisConcurrencyLimit(at_once, redis)
            )

    def start(self) -> None:
        """Logs how it counts, and begins to renew the slots held in Redis."""
        LIMITS.tell(self._log, how=self._how())
        if isinstance(self._concurrency, RedisConcurrencyLimit):
            self._concurrency.start()

    async def close(self) -> None:
        if isinstance(self._concurrency, RedisConcurrencyLimit):
            await self._concurrency.close()
        if self._redis is not None:
            await self._redis.close()

    async def admit(self, request: Request, audio_s: float) -> None:
        """Charges the caller's key with so much music, and takes a concurrency slot until the answer is over.

        To be called once for each request. The answer's headers get what is left of the limit. A request that is
        refused is not charged.

        Args:
            audio_s: seconds of music; 0 takes a slot only.

        Raises:
            InvalidRequest: it can never be granted.
            OverLimit: it can't be granted now.
            NotReady: Redis is down, and the settings say `when_down: closed`.
        """
        state, caller = request.state, request.state.caller
        assert isinstance(caller, Caller)
        self._limits.check_possible(audio_s)
        try:
            await self._acquire_slot(request, caller.key_id)
            await self._charge(request, caller.key_id, audio_s)
        except RedisDown:
            if self._settings.when_down == "closed":
                # Without a cause: SharedRedis has counted and logged it.
                raise NotReady("The limits can't be counted now: try again later.") from None
        state.audio_s = audio_s

    async def _acquire_slot(self, request: Request, key: str) -> None:
        if self._concurrency is None:
            return
        slot = self._concurrency.slot(key)
        request.state.until_answered.callback(slot.release)
        if not await slot.acquire():
            limit = self._concurrency.limit
            request.state.extra_headers.update(LimitStatus("at_once", limit, 0, RETRY_AFTER_S).headers())
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
            charge = await self._redis.call(lambda: self._limits.charge(key, audio_s))
        request.state.extra_headers.update(limit_headers(charge.statuses))
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


MAX_FAILURES_PER_MINUTE = 100
# Addresses are hashed into this many counters, so that a client with many addresses takes no memory.
_NUM_COUNTERS = 1024
# One IPv6 customer has a network of this prefix.
_IPV6_PREFIX = 64


class AuthFailures:
    """Counts failed authentications by client address; the IPv6 addresses of one network together.

    It only limits further failures: a valid key is never refused. Two addresses that share a counter by chance reach
    the limit earlier.
    """

    def __init__(self, per_minute: int = MAX_FAILURES_PER_MINUTE) -> None:
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._limit = RateLimitItemPerMinute(per_minute)

    async def count(self, address: str) -> float | None:
        """Counts one failure. How many seconds the address should wait where it had too many; else None."""
        counter = str(hash(_network(address)) % _NUM_COUNTERS)
        if await self._limiter.hit(self._limit, counter):
            return None
        stats = await self._limiter.get_window_stats(self._limit, counter)
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
    """All that decides whether a request may pass.

    Attributes: api_keys is None where the service has no keys; policy is None where it has none.

    Nothing is read or connected to before `start`.

    Args:
        keys: where API keys are stored.
        audit: where audit records are stored.
        timeout_s: of a call of either.
        redis_timeout_s: of a call of Redis.

    Raises:
        PolicyError: the policy's function does not exist.
    """

    def __init__(
        self,
        settings: AuthSettings,
        keys: KeyStore,
        audit: AuditStore,
        *,
        timeout_s: float,
        redis_timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.settings = settings
        self.faults = Faults(time.monotonic, _log, of="access")
        self.failures = AuthFailures()
        self.api_keys: ApiKeyCache | None = None
        if settings.keys == "required":
            # Keys and audit have a thread each: where one waits for the database, the other need not.
            self.api_keys = ApiKeyCache(keys, ThreadPool(1, "keys"), self.faults, timeout_s=timeout_s)
        self.policy: PromptPolicy | None = None
        if settings.policy is not None:
            self.policy = PromptPolicy(load_policy(settings.policy), ThreadPool(_POLICY_THREADS, "policy"), self.faults)
        storage = settings.limits.storage
        redis = (
            None
            if storage.get_secret_value() == "memory"
            else SharedRedis(storage, self.faults, timeout_s=redis_timeout_s)
        )
        self.admission = Admission(settings.limits, redis, _log)
        self.audit = Audit(audit, ThreadPool(1, "audit"), self.faults, settings.audit)

    def start(self) -> None:
        """Begins the background work, in the event loop that serves the requests."""
        self.admission.start()
        self.audit.start()
        if self.api_keys is not None:
            self.api_keys.start()

    async def close(self) -> None:
        """Ends the background work; writes the waiting audit records, as far as that can be done now."""
        async with AsyncExitStack() as closing:
            closing.push_async_callback(self.audit.close)
            closing.push_async_callback(self.admission.close)
            for each in (self.policy, self.api_keys):
                if each is not None:
                    closing.push_async_callback(each.close)
