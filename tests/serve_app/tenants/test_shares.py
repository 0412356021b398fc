"""One tenant's use of the service takes nothing from another's share, and tells nothing of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.serve_app.auth.gates import run
from tests.serve_app.tenants.house import House, house
from tests.serve_app.tenants.studio import DEADLY_SEED, HELD_SEED

MAX_QUEUED = 3


def test_a_full_queue_is_its_own_tenants_only(tmp_path: Path) -> None:
    async def test() -> None:
        async with house(tmp_path, max_queued=MAX_QUEUED) as opened:
            for key in ("a", "b"):
                answers = [await opened.submit(key) for _ in range(MAX_QUEUED)]
                assert [answer.json()["position"] for answer in answers] == [1, 2, 3]
                for tenants_key in (key, "a2" if key == "a" else key):
                    refused = await opened.submit(tenants_key)
                    assert refused.status_code == 429
                    assert str(MAX_QUEUED) in refused.json()["error"]["message"]

    run(test)


def test_seconds_of_music_are_counted_for_each_key_alone(tmp_path: Path) -> None:
    async def test() -> None:
        limits = {"audio_s_per_minute": 2, "audio_s_per_day": 5}
        async with house(tmp_path, limits=limits) as opened:
            for key in ("a", "a2", "b"):
                standings = [await remaining(opened, key) for _ in range(3)]
                assert standings == [(200, "1"), (200, "0"), (429, "0")]

    async def remaining(opened: House, key: str) -> tuple[int, str]:
        answer = await opened.music(key, seed=1)
        return answer.status_code, answer.headers["x-ratelimit-remaining"]

    run(test)


def test_requests_under_way_are_counted_for_each_key_alone(tmp_path: Path) -> None:
    async def test() -> None:
        async with house(tmp_path, limits={"at_once": 2}) as opened:
            asking = [asyncio.create_task(opened.music("a", seed=HELD_SEED)) for _ in range(2)]
            await opened.listeners(2)
            refused = await opened.music("a", seed=1)
            assert (refused.status_code, refused.headers["x-ratelimit-policy"]) == (429, "at_once")
            assert (await opened.music("b", seed=1)).status_code == 200
            await opened.release()
            assert {answer.status_code for answer in await asyncio.gather(*asking)} == {200}

    run(test)


def test_a_generation_that_is_given_up_is_its_own_tenants_only(tmp_path: Path) -> None:
    async def test() -> None:
        async with house(tmp_path) as opened:
            for number, key in enumerate(("a", "b"), 1):
                first, second = [await opened.music(key, seed=DEADLY_SEED) for _ in range(2)]
                assert {answer.json()["error"]["type"] for answer in (first, second)} == {"worker_lost_twice"}
                assert len(opened.studio.requests) == 2 * number, "the second is refused without another loss"

    run(test)
