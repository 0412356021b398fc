"""A Redis that is stopped, paused, full or started again."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable

import pytest
from pydantic import SecretStr

from serve_app.auth.shared_redis import RedisDown, SharedRedis
from serve_app.faults import Faults
from serve_app.stores.circuit_breaker import FAILURES_TO_OPEN
from tests.redis_server import RedisServer
from tests.serve_app.auth.clock import Clock
from tests.serve_app.auth.gates import PATIENT_S

SECRET = "canary-8e1b"


def with_redis(
    url: str, test: Callable[[SharedRedis, Faults, Clock], Awaitable[None]], timeout_s: float = PATIENT_S
) -> None:
    async def scenario() -> None:
        clock = Clock()
        faults = Faults(clock)
        redis = SharedRedis(SecretStr(url), faults, timeout_s=timeout_s, clock=clock, jitter=lambda: 0.0)
        try:
            await test(redis, faults, clock)
        finally:
            await redis.close()

    asyncio.run(scenario())


async def ping(redis: SharedRedis) -> bool:
    return bool(await redis.call(redis.client.ping))


async def fail(redis: SharedRedis, times: int) -> None:
    for _ in range(times):
        with pytest.raises(RedisDown):
            await ping(redis)


def test_a_paused_redis_costs_some_time_outs_and_then_nothing(redis_server: RedisServer) -> None:
    async def test(redis: SharedRedis, faults: Faults, clock: Clock) -> None:
        redis_server.pause()
        try:
            await fail(redis, FAILURES_TO_OPEN)
            assert not redis.is_up
            await fail(redis, 1000)
            assert faults.counts["limits left out"] == 1000
            assert faults.counts["limits failed"] == FAILURES_TO_OPEN
        finally:
            redis_server.resume()

    with_redis(redis_server.url, test, timeout_s=0.2)


def test_when_it_is_back_a_trial_beside_a_request_finds_out(redis_server: RedisServer) -> None:
    async def test(redis: SharedRedis, faults: Faults, clock: Clock) -> None:
        assert await ping(redis)
        redis_server.stop()
        try:
            await fail(redis, FAILURES_TO_OPEN + 10)
        finally:
            redis_server.start()
        clock.now_s += 1
        await fail(redis, 1)
        await redis.settled()
        assert redis.is_up
        assert await ping(redis)

    with_redis(redis_server.url, test)


def test_a_redis_that_was_started_again_between_two_calls_fails_none(redis_server: RedisServer) -> None:
    async def test(redis: SharedRedis, faults: Faults, clock: Clock) -> None:
        assert all(await asyncio.gather(*(ping(redis) for _ in range(10))))
        await asyncio.to_thread(redis_server.stop)
        await asyncio.to_thread(redis_server.start)
        assert all(await asyncio.gather(*(ping(redis) for _ in range(10))))
        assert not faults.counts

    with_redis(redis_server.url, test)


def test_a_redis_that_takes_nothing_in_is_down(redis_server: RedisServer) -> None:
    async def test(redis: SharedRedis, faults: Faults, clock: Clock) -> None:
        async def write() -> object:
            return await redis.call(lambda: redis.client.set("a", "b"))

        with redis_server.client() as admin:
            admin.config_set("maxmemory", "1")
            try:
                for _ in range(FAILURES_TO_OPEN):
                    with pytest.raises(RedisDown):
                        await write()
                clock.now_s += 1
                with pytest.raises(RedisDown):
                    await write()
                await redis.settled()
                assert not redis.is_up
            finally:
                admin.config_set("maxmemory", "0")
        clock.now_s += 2
        with pytest.raises(RedisDown):
            await write()
        await redis.settled()
        assert await write()

    with_redis(redis_server.url, test)


def test_more_calls_at_once_than_connections_wait_their_turn(redis_server: RedisServer) -> None:
    async def test(redis: SharedRedis, faults: Faults, clock: Clock) -> None:
        assert all(await asyncio.gather(*(ping(redis) for _ in range(500))))

    with_redis(redis_server.url, test)


def test_a_call_that_is_cancelled_leaves_a_connection_that_answers_the_right_question(
    redis_server: RedisServer,
) -> None:
    async def test(redis: SharedRedis, faults: Faults, clock: Clock) -> None:
        for turns in range(30):
            asking = asyncio.create_task(redis.call(lambda: redis.client.echo("old")))
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait({asking})
            assert await redis.call(lambda turns=turns: redis.client.echo(f"new {turns}")) == f"new {turns}".encode()

    with_redis(redis_server.url, test)


@pytest.mark.parametrize("tail", ["host:6379/0?speed=fast", "host:6379/0?socket_timeout=soon", "a/b@host:6379/0"])
def test_a_url_that_is_none_is_told_without_its_password(tail: str) -> None:
    with pytest.raises(ValueError, match=r"access\.limits\.storage is no URL of a Redis") as raised:
        SharedRedis(SecretStr(f"redis://:{SECRET}{'' if '@' in tail else '@'}{tail}"), Faults(time.monotonic))
    assert SECRET not in "".join(traceback.format_exception(raised.value))


def test_its_password_is_in_no_log_no_error_and_no_name(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(redis: SharedRedis, faults: Faults, clock: Clock) -> None:
        with pytest.raises(RedisDown) as raised:
            await ping(redis)
        chain: list[BaseException | None] = [raised.value, raised.value.__cause__, raised.value.__context__]
        assert SECRET not in "".join(map(repr, chain))
        assert SECRET not in redis.where
        assert redis_server.address == redis.where

    with caplog.at_level(logging.DEBUG):
        with_redis(f"redis://user:{SECRET}@{redis_server.address}/0", test)
    assert "Redis at" in caplog.text
    assert SECRET not in caplog.text
