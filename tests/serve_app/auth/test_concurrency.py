"""Places: in memory for one process, in a Redis for all that share it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from serve_app.auth.concurrency import ConcurrencySlot, InMemoryConcurrencyLimit, RedisConcurrencyLimit
from serve_app.auth.shared_redis import RedisDown, SharedRedis
from serve_app.faults import Faults
from tests.redis_server import RedisServer
from tests.serve_app.auth.clock import Clock, until
from tests.serve_app.auth.gates import PATIENT_S


@given(st.integers(1, 3), st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.integers(0, 5)), max_size=30))
def test_slots_are_counted_right(most: int, steps: list[tuple[str, bool, int]]) -> None:
    async def scenario() -> None:
        limit = InMemoryConcurrencyLimit(most)
        taken: dict[str, list[ConcurrencySlot]] = {"a": [], "b": []}
        for key, takes, which in steps:
            if takes:
                slot = limit.slot(key)
                may = len(taken[key]) < most
                assert await slot.acquire() == may
                if may:
                    taken[key].append(slot)
                else:
                    slot.release()
            elif which < len(taken[key]):
                slot = taken[key].pop(which)
                slot.release()
                slot.release()
            assert limit.num_held == len(taken["a"]) + len(taken["b"])

    asyncio.run(scenario())


class Replica:
    """One process' slots."""

    def __init__(self, server: RedisServer, clock: Clock, limit: int) -> None:
        self.faults = Faults(clock)
        self.redis = SharedRedis(
            SecretStr(server.url), self.faults, timeout_s=PATIENT_S, clock=clock, jitter=lambda: 0.0
        )
        self.limit = RedisConcurrencyLimit(limit, self.redis, sleep=clock.sleep)

    async def take(self, key: str = "k") -> ConcurrencySlot | None:
        slot = self.limit.slot(key)
        return slot if await slot.acquire() else None


def with_replicas(
    server: RedisServer, test: Callable[[Replica, Replica, Clock], Awaitable[None]], limit: int = 3
) -> None:
    async def scenario() -> None:
        clock = Clock()
        replicas = [Replica(server, clock, limit) for _ in range(2)]
        await replicas[0].redis.client.flushall()
        try:
            await test(*replicas, clock)
        finally:
            for each in replicas:
                await each.limit.close()
                await each.redis.close()

    asyncio.run(scenario())


async def expire(replica: Replica, slot: ConcurrencySlot, key: str = "k") -> None:
    """As if nobody had renewed it for as long as it lasts."""
    await replica.redis.client.zadd(f"musicgen:at-once:{key}", {slot.name: (time.time() - 1) * 1000})


def test_two_replicas_share_the_slots_of_a_key(redis_server: RedisServer) -> None:
    async def test(one: Replica, other: Replica, clock: Clock) -> None:
        got = await asyncio.gather(*(replica.take() for replica in (one, other) for _ in range(10)))
        taken = [slot for slot in got if slot is not None]
        assert len(taken) == 3
        assert one.limit.num_held + other.limit.num_held == 3
        assert await other.take("another key") is not None
        taken[0].release()
        await asyncio.gather(one.limit.settled(), other.limit.settled())
        assert await other.take() is not None
        assert await one.take() is None

    with_replicas(redis_server, test)


def test_a_killed_replicas_slots_expire_and_those_of_a_living_one_are_renewed(redis_server: RedisServer) -> None:
    async def test(one: Replica, other: Replica, clock: Clock) -> None:
        other.limit.start()
        killed, living = await one.take(), await other.take()
        assert killed is not None
        assert living is not None
        assert await one.take() is None
        await expire(one, killed)
        await expire(other, living)
        await until(lambda: clock.num_asleep == 1)
        clock.advance(11)
        await until(lambda: clock.num_asleep == 1)
        assert await one.take() is not None
        assert await one.take() is None
        left_ms = await one.redis.client.pttl("musicgen:at-once:k")
        assert 0 < left_ms <= 30_000

    with_replicas(redis_server, test, limit=2)


def test_a_redis_that_has_forgotten_learns_of_the_slots_again(redis_server: RedisServer) -> None:
    async def test(one: Replica, other: Replica, clock: Clock) -> None:
        assert await one.take() is not None
        await one.redis.client.flushall()
        await one.limit.renew()
        assert await other.take() is None

    with_replicas(redis_server, test, limit=1)


def test_a_slot_that_was_released_during_a_renewal_is_not_taken_again(redis_server: RedisServer) -> None:
    async def test(one: Replica, other: Replica, clock: Clock) -> None:
        slot = await one.take()
        assert slot is not None
        renew = one.limit._renew

        async def overtaken(**arguments: Any) -> Any:
            slot.release()
            await one.limit.settled()
            return await renew(**arguments)

        one.limit._renew = overtaken  # type: ignore[assignment]
        await one.limit.renew()
        assert await one.redis.client.zcard("musicgen:at-once:k") == 0

    with_replicas(redis_server, test, limit=1)


def test_a_slot_whose_taker_was_cancelled_is_given_back(redis_server: RedisServer) -> None:
    async def test(one: Replica, other: Replica, clock: Clock) -> None:
        for turns in range(30):
            slot = one.limit.slot("k")
            taking = asyncio.create_task(slot.acquire())
            for _ in range(turns):
                await asyncio.sleep(0)
            taking.cancel()
            await asyncio.wait({taking})
            slot.release()
            await one.limit.settled()
            assert one.limit.num_held == 0
            assert await one.redis.client.zcard("musicgen:at-once:k") == 0

    with_replicas(redis_server, test)


def test_a_slot_taken_while_redis_was_down_counts_when_it_is_back(redis_server: RedisServer) -> None:
    async def test(one: Replica, other: Replica, clock: Clock) -> None:
        redis_server.stop()
        try:
            with pytest.raises(RedisDown):
                await one.take()
        finally:
            redis_server.start()
        assert one.limit.num_held == 1
        await one.limit.renew()
        assert await other.take() is None

    with_replicas(redis_server, test, limit=1)
