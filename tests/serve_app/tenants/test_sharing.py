"""What is kept of one tenant's music, or being made for it, is nobody else's, unless the settings share it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from tests.serve_app.auth.clock import until
from tests.serve_app.auth.gates import run
from tests.serve_app.tenants.house import House, house
from tests.serve_app.tenants.studio import HELD_SEED

Ask = Callable[[House, str], Awaitable[httpx.Response]]


async def whole(opened: House, key: str) -> httpx.Response:
    return await opened.music(key, seed=1)


async def stream(opened: House, key: str) -> httpx.Response:
    return await opened.music(key, "/v1/music/stream", seed=1)


async def seedless(opened: House, key: str) -> httpx.Response:
    return await opened.music(key)


async def job(opened: House, key: str) -> httpx.Response:
    """The sound of a job, whose own X-Cache says `hit`: it was kept when it is fetched."""
    path = (await opened.submit(key, seed=1)).headers["location"]
    await opened.work()
    answer = await opened.ask(key, "GET", f"{path}/audio?output_format=pcm")
    await opened.settled()
    return answer


EVERY_WAY = pytest.mark.parametrize("ask", [whole, stream, seedless, job])


@EVERY_WAY
def test_what_is_kept_of_one_tenant_is_a_miss_to_another(tmp_path: Path, ask: Ask) -> None:
    async def test() -> None:
        async with house(tmp_path) as opened:
            first = await ask(opened, "a")
            again = await (seedless if ask is seedless else whole)(opened, "a2")
            assert again.headers["x-cache"] == "hit"
            assert again.headers["x-generation-id"] == first.headers["x-generation-id"]
            num_made = len(opened.studio.requests)
            other = await (seedless if ask is seedless else whole)(opened, "b")
            assert other.headers["x-cache"] == "miss"
            assert "age" not in other.headers
            assert other.headers["x-generation-id"] != first.headers["x-generation-id"]
            assert len(opened.studio.requests) == num_made + 1
            assert (other.headers["x-seed"] == first.headers["x-seed"]) == (ask is not seedless)

    run(test)


@EVERY_WAY
def test_where_the_settings_share_it_it_is_a_hit(tmp_path: Path, ask: Ask) -> None:
    async def test() -> None:
        async with house(tmp_path, share_cache=True) as opened:
            first = await ask(opened, "a")
            other = await (seedless if ask is seedless else whole)(opened, "b")
            assert other.headers["x-cache"] == "hit"
            assert other.headers["x-generation-id"] == first.headers["x-generation-id"]
            assert other.content == first.content
            assert len(opened.studio.requests) == 1

    run(test)


@pytest.mark.parametrize(("share", "outcomes", "made"), [(False, ["miss", "miss"], 2), (True, ["joined", "miss"], 1)])
def test_nobody_joins_what_is_being_made_for_another_unless_it_is_shared(
    tmp_path: Path, share: bool, outcomes: list[str], made: int
) -> None:
    async def test() -> None:
        async with house(tmp_path, share_cache=share) as opened:
            asking = [asyncio.create_task(opened.music(key, seed=HELD_SEED)) for key in ("a", "b")]
            await until(lambda: opened.studio.num_held == made)
            await opened.listeners(2)
            await opened.release()
            answers = await asyncio.gather(*asking)
            assert sorted(answer.headers["x-cache"] for answer in answers) == outcomes
            assert len(opened.studio.requests) == made
            assert (answers[0].headers["x-generation-id"] == answers[1].headers["x-generation-id"]) == share

    run(test)


def test_who_leaves_what_is_shared_takes_nothing_from_the_other(tmp_path: Path) -> None:
    async def test() -> None:
        async with house(tmp_path, share_cache=True) as opened:
            path = (await opened.submit("a", seed=HELD_SEED)).headers["location"]
            await opened.work()
            asking = asyncio.create_task(opened.music("b", seed=HELD_SEED))
            await opened.listeners(2)
            assert (await opened.ask("a", "DELETE", path)).json()["state"] == "cancelled"
            await opened.release()
            answer = await asking
            assert (answer.status_code, answer.headers["x-cache"]) == (200, "joined")
            assert (await opened.ask("a", "DELETE", path)).status_code == 204
            assert (await opened.music("b", seed=HELD_SEED)).headers["x-cache"] == "hit"

    run(test)


def test_the_entity_tag_of_anothers_sound_is_none_of_ones_own(tmp_path: Path) -> None:
    async def test() -> None:
        async with house(tmp_path) as opened:
            paths = {key: (await opened.submit(key, seed=1)).headers["location"] for key in ("a", "b")}
            await opened.work()
            theirs = (await opened.ask("a", "HEAD", f"{paths['a']}/audio")).headers["etag"]
            for headers in ({"If-None-Match": theirs}, {"If-Range": theirs, "Range": "bytes=0-9"}):
                answer = await opened.ask("b", "GET", f"{paths['b']}/audio", headers=headers)
                assert (answer.status_code, answer.headers["etag"] != theirs) == (200, True)

    run(test)
