"""The Redis that all ingress replicas share, behind a circuit breaker: while it is down, no request waits for it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pydantic import SecretStr
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from deployments.liveness.stalls import within
from serve_app.faults import Faults
from serve_app.stores.circuit_breaker import CircuitBreaker

PREFIX = "musicgen"
TIMEOUT_S = 1.0
_MAX_CONNECTIONS = 32

_Result = TypeVar("_Result")


class RedisDown(Exception):
    """Redis can't be called now. A call that failed may have been carried out."""


class SharedRedis:
    """A client behind a circuit breaker: after some failures in a row the only call made is a probe in the background.

    Nothing is connected to before the first call.

    Args:
        timeout_s: of each call with all its steps.
        clock: seconds, monotonic.
        jitter: in [0, 1), of the breaker.

    Raises:
        ValueError: the URL has options that Redis' client does not have.
    """

    def __init__(
        self,
        url: SecretStr,
        faults: Faults,
        *,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._pool = _pool(url, timeout_s)
        self.client = Redis(connection_pool=self._pool)
        self._faults = faults
        self._timeout_s = timeout_s
        self._breaker = CircuitBreaker(clock, jitter)
        self._probes: set[asyncio.Task[None]] = set()

    @property
    def pool(self) -> BlockingConnectionPool:
        """The connection pool, for another client of the same Redis."""
        return self._pool

    @property
    def where(self) -> str:
        """Its address, for the log."""
        kwargs = self._pool.connection_kwargs
        return str(kwargs.get("path") or f"{kwargs.get('host', 'localhost')}:{kwargs.get('port', 6379)}")

    @property
    def is_up(self) -> bool:
        """Whether calls are made, as far as is known."""
        return not self._breaker.is_open

    async def call(self, call: Callable[[], Awaitable[_Result]]) -> _Result:
        """The result of a call of `client`. Raises: RedisDown, at once while it is known to be down."""
        if self._breaker.is_open:
            if self._breaker.take_trial():
                probe = asyncio.create_task(self._probe())
                self._probes.add(probe)
                probe.add_done_callback(self._probes.discard)
            self._faults.counts["limits left out"] += 1
            raise RedisDown(self.where)
        return await self._call(call)

    async def settled(self) -> None:
        """Returns when the probes in progress have ended."""
        await asyncio.gather(*self._probes)

    async def close(self) -> None:
        """Ends the probes and closes the connections."""
        for probe in self._probes:
            probe.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)
        await self.client.aclose()
        await self._pool.aclose()

    async def _call(self, call: Callable[[], Awaitable[_Result]]) -> _Result:
        async def awaited() -> _Result:
            return await call()

        try:
            result = await within(awaited(), self._timeout_s)
        except (RedisError, OSError, asyncio.TimeoutError) as error:
            # Only the kind of error is logged: the server's message may hold what it was sent.
            self._faults.count("limits failed", f"Redis at {self.where}: {type(error).__name__}")
            self._breaker.failed()
            raise RedisDown(self.where) from error
        self._breaker.succeeded()
        return result

    async def _probe(self) -> None:
        try:
            # A write: a full or read-only Redis must count as down.
            await self._call(lambda: self.client.set(f"{PREFIX}:trial", 1, px=1000))
        except RedisDown:
            return
        except BaseException:
            self._breaker.drop_trial()
            raise


def _pool(url: SecretStr, timeout_s: float) -> BlockingConnectionPool:
    try:
        pool = BlockingConnectionPool.from_url(
            url.get_secret_value(),
            max_connections=_MAX_CONNECTIONS,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            # With protocol 3, connections that the server closed while they were idle would be used all the same.
            protocol=2,
            # Retrying a call that was carried out would count twice.
            retry=Retry(NoBackoff(), 0),
        )
        # This connects to nothing, and is what checks the options.
        pool.make_connection()  # type: ignore[no-untyped-call]
    except (TypeError, ValueError):
        # Their messages may hold a part of the password.
        raise ValueError("access.limits.storage is no URL of a Redis like redis://user:password@host:6379/0") from None
    return pool
