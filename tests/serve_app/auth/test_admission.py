"""Limits as clients meet them: one replica, two with one Redis, and a Redis that is not there."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import httpx
import pytest

from tests.redis_server import RedisServer
from tests.serve_app.api.service import fault
from tests.serve_app.auth.clock import until
from tests.serve_app.auth.gates import PATIENT_S, House, house, run
from tests.serve_app.auth.stores import HeldKeys


def statuses(answers: list[httpx.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


async def forget(server: RedisServer) -> None:
    with server.client() as client:
        client.flushall()


def slots_of(which: House) -> int:
    limit = which.gate.admission._concurrency
    assert limit is not None
    return int(getattr(limit, "num_held", 0))


@pytest.mark.parametrize("storage", ["memory", "redis"])
def test_a_key_has_so_many_seconds_of_music_and_is_told_how_it_stands(storage: str, redis_server: RedisServer) -> None:
    async def test() -> None:
        await forget(redis_server)
        keys = HeldKeys()
        one, other = keys.make().text, keys.make().text
        limits = {"audio_s_per_minute": 30, "audio_s_per_day": 1000}
        url = redis_server.url if storage == "redis" else storage
        async with house(keys=keys, limits=limits, redis_url=url) as replica:
            answer = await replica.music(19.5, one)
            assert answer.status_code == 200
            assert answer.headers["x-ratelimit-policy"] == "audio_s_per_minute"
            assert answer.headers["x-ratelimit-limit"] == "30"
            assert answer.headers["x-ratelimit-remaining"] == "10"
            assert 50 <= int(answer.headers["x-ratelimit-reset"]) <= 60
            answer = await replica.music(11, one)
            assert answer.status_code == 429
            assert fault(answer)["type"] == "over_limit"
            assert answer.headers["x-ratelimit-remaining"] == "10"
            assert 50 <= int(answer.headers["retry-after"]) <= 60
            assert (await replica.music(10, one)).status_code == 200
            assert (await replica.music(11, other)).status_code == 200
            answer = await replica.music(31, other)
            assert answer.status_code == 422
            assert "never be granted" in fault(answer)["message"]

    run(test)


@pytest.mark.parametrize("storage", ["memory", "redis"])
def test_a_key_has_so_many_requests_at_once(storage: str, redis_server: RedisServer) -> None:
    async def test() -> None:
        await forget(redis_server)
        url = redis_server.url if storage == "redis" else storage
        async with house(limits={"at_once": 2}, redis_url=url) as replica:
            under_way = [asyncio.create_task(replica.ask("POST", "/v1/music?hold=true")) for _ in range(2)]
            await until(lambda: replica.num_inside == 2)
            answer = await replica.music(0)
            assert answer.status_code == 429
            assert fault(answer)["type"] == "over_limit"
            assert int(answer.headers["retry-after"]) > 0
            assert answer.headers["x-ratelimit-policy"] == "at_once"
            assert (answer.headers["x-ratelimit-limit"], answer.headers["x-ratelimit-remaining"]) == ("2", "0")
            replica.opened.set()
            assert statuses(await asyncio.gather(*under_way)) == {200: 2}
            await until(lambda: slots_of(replica) == 0)

    run(test)


def test_two_replicas_with_one_redis_grant_no_more_than_one_does(redis_server: RedisServer) -> None:
    async def test() -> None:
        await forget(redis_server)
        keys = HeldKeys()
        key = keys.make().text
        limits = {"audio_s_per_minute": 50, "audio_s_per_day": 1000}
        async with (
            house(keys=keys, limits=limits, redis_url=redis_server.url) as one,
            house(keys=keys, limits=limits, redis_url=redis_server.url) as other,
        ):
            answers = await asyncio.gather(*(each.music(5, key) for each in (one, other) for _ in range(20)))
            assert statuses(answers) == {200: 10, 429: 30}

    run(test)


def test_two_replicas_with_one_redis_have_no_more_under_way_than_one_does(redis_server: RedisServer) -> None:
    async def test() -> None:
        await forget(redis_server)
        async with (
            house(limits={"at_once": 3}, redis_url=redis_server.url) as one,
            house(limits={"at_once": 3}, redis_url=redis_server.url) as other,
        ):
            asked = [
                asyncio.create_task(each.ask("POST", "/v1/music?hold=true")) for each in (one, other) for _ in range(10)
            ]
            await until(lambda: sum(task.done() for task in asked) == 17)
            assert one.num_inside + other.num_inside == 3
            one.opened.set()
            other.opened.set()
            assert statuses(await asyncio.gather(*asked)) == {200: 3, 429: 17}

    run(test)


def test_without_redis_each_replica_counts_for_itself_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        limits = {"audio_s_per_minute": 10}
        async with house(limits=limits) as one, house(limits=limits) as other:
            answers = [await each.music(5) for each in (one, other) for _ in range(5)]
            assert statuses(answers) == {200: 4, 429: 6}

    with caplog.at_level(logging.INFO, "ray.serve.access"):
        run(test)
    assert "audio_s_per_minute 10 for each key; every ingress replica counts for itself" in caplog.text


@pytest.mark.parametrize(("when_down", "status"), [("open", 200), ("closed", 503)])
@pytest.mark.parametrize("how", ["stop", "pause"])
def test_while_redis_is_down_the_settings_choose_and_it_is_said_at_the_start(
    when_down: str, status: int, how: str, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    limits = {"audio_s_per_minute": 10, "at_once": 100, "when_down": when_down}

    async def test() -> None:
        await forget(redis_server)
        async with house(limits=limits, redis_url=redis_server.url) as replica:
            redis = replica.gate.admission._redis
            assert redis is not None
            assert (await replica.music(6)).status_code == 200
            redis_server.stop() if how == "stop" else redis_server.pause()
            redis._timeout_s = 0.1
            try:
                answers = [await replica.music(6) for _ in range(20)]
                assert statuses(answers) == {status: 20}
                if status == 503:
                    assert {answer.headers["retry-after"] for answer in answers} == {"5"}
            finally:
                redis._timeout_s = PATIENT_S
                redis_server.start() if how == "stop" else redis_server.resume()
            while not redis.is_up:
                await replica.music(6)
                await asyncio.sleep(0.01)
            answers = [await replica.music(6) for _ in range(5)]
            assert 429 in statuses(answers)

    with caplog.at_level(logging.INFO, "ray.serve.access"):
        run(test)
    begun, *warned = [record.getMessage() for record in caplog.records if record.name == "ray.serve.access"]
    assert f"(when_down: {when_down})" in begun
    assert ("let through uncounted" if when_down == "open" else "answered 503") in begun
    assert len(warned) == 1


def test_a_limit_that_is_not_set_asks_no_redis() -> None:
    async def test() -> None:
        async with house(redis_url="redis://127.0.0.1:1/0") as replica:
            assert (await replica.music(1e6)).status_code == 200
            assert not replica.gate.faults.counts

    run(test)


@pytest.mark.parametrize("storage", ["memory", "redis"])
def test_a_slot_is_given_back_when_the_request_is_cancelled_fails_or_is_refused(
    storage: str, redis_server: RedisServer
) -> None:
    async def test() -> None:
        await forget(redis_server)
        url = redis_server.url if storage == "redis" else storage
        async with house(limits={"at_once": 1, "audio_s_per_minute": 5}, redis_url=url) as replica:
            asking = asyncio.create_task(replica.ask("POST", "/v1/music?hold=true"))
            await until(lambda: replica.num_inside == 1)
            asking.cancel()
            await asyncio.wait({asking})
            await _free(replica)
            assert (await replica.ask("POST", "/v1/music?fail=true")).status_code == 500
            await _free(replica)
            assert (await replica.music(5)).status_code == 200
            await _free(replica)
            assert (await replica.music(5)).status_code == 429
            await _free(replica)

    run(test)


def test_a_streams_slot_is_given_back_at_its_end_or_when_it_breaks() -> None:
    async def test() -> None:
        async with house(limits={"at_once": 1}) as replica:
            for query in ("", "?broken=true"):
                asking = asyncio.create_task(replica.ask("GET", f"/v1/stream/a{query}"))
                await until(lambda: slots_of(replica) == 1)
                assert (await replica.music(0)).status_code == 429
                replica.opened.set()
                await asyncio.wait({asking})
                await _free(replica)
                replica.opened.clear()

    run(test)


async def _free(replica: House) -> None:
    await until(lambda: slots_of(replica) == 0)
    settled = getattr(replica.gate.admission._concurrency, "settled", None)
    if settled is not None:
        await settled()
