"""A Redis that all ingress replicas share, and that may be down: then it is left alone, and costs no request a wait."""

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
from serve_app.stores.guarded import Breaker

PREFIX = "musicgen"
TIMEOUT_S = 1.0
_MAX_CONNECTIONS = 32

_Result = TypeVar("_Result")


class RedisDown(Exception):
    """It can't be asked now. What was asked may have been done."""


class SharedRedis:
    """After some failures in a row no call is made but for a trial beside the requests, which tells when it is back.

    timeout_s: of each call with all its steps. clock: seconds, monotonic. jitter: in [0, 1), of the breaker. Nothing is
    connected to before the first call. Raises: ValueError for a URL with options that Redis' client does not have.
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
        self._breaker = Breaker(clock, jitter)
        self._trials: set[asyncio.Task[None]] = set()

    @property
    def pool(self) -> BlockingConnectionPool:
        """For another client of the same Redis."""
        return self._pool

    @property
    def where(self) -> str:
        """What to call it in a log."""
        kwargs = self._pool.connection_kwargs
        return str(kwargs.get("path") or f"{kwargs.get('host', 'localhost')}:{kwargs.get('port', 6379)}")

    @property
    def is_up(self) -> bool:
        """Whether it is asked at all, as far as is known."""
        return not self._breaker.is_open

    async def ask(self, call: Callable[[], Awaitable[_Result]]) -> _Result:
        """What the call of `client` gives. Raises: RedisDown, at once while it is known to be down."""
        if self._breaker.is_open:
            if self._breaker.take_trial():
                trial = asyncio.create_task(self._try())
                self._trials.add(trial)
                trial.add_done_callback(self._trials.discard)
            self._faults.counts["limits left out"] += 1
            raise RedisDown(self.where)
        return await self._ask(call)

    async def settled(self) -> None:
        """Returns when the trials on their way have ended."""
        await asyncio.gather(*self._trials)

    async def close(self) -> None:
        """Ends the trials and the connections."""
        for trial in self._trials:
            trial.cancel()
        await asyncio.gather(*self._trials, return_exceptions=True)
        await self.client.aclose()
        await self._pool.aclose()

    async def _ask(self, call: Callable[[], Awaitable[_Result]]) -> _Result:
        async def awaited() -> _Result:
            return await call()

        try:
            result = await within(awaited(), self._timeout_s)
        except (RedisError, OSError, asyncio.TimeoutError) as error:
            # The kind of error is all that is told: a server's words may hold what it was sent.
            self._faults.count("limits failed", f"Redis at {self.where}: {type(error).__name__}")
            self._breaker.failed()
            raise RedisDown(self.where) from error
        self._breaker.succeeded()
        return result

    async def _try(self) -> None:
        try:
            # It must take what is written, which a full or read-only one does not.
            await self._ask(lambda: self.client.set(f"{PREFIX}:trial", 1, px=1000))
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
            # By the third, connections that the server closed while they were idle are used all the same.
            protocol=2,
            # A second try of what came to pass would count twice.
            retry=Retry(NoBackoff(), 0),
        )
        # Connects to nothing, and is the first to look at the options.
        pool.make_connection()  # type: ignore[no-untyped-call]
    except (TypeError, ValueError):
        # Their words may hold a part of the password.
        raise ValueError("access.limits.storage is no URL of a Redis like redis://user:password@host:6379/0") from None
    return pool
