"""Who ask for the same share one generation, of real replicas."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.service.conftest import RunningService
from tests.service.support.recording_model import recorded_generations
from tests.service.support.two_replicas import LONG_SECONDS, WAYS, clip, digest, gather, until


@pytest.mark.parametrize("seed", [None, pytest.param(77, marks=pytest.mark.slow)])
def test_fifty_equal_requests_at_once_get_one_generation_and_a_thousand_later_none(
    pair: RunningService, seed: int | None
) -> None:
    async def scenario() -> None:
        prompt = {"prompt": f"the same {seed}"}
        before = set(recorded_generations(pair.frames))
        async with pair.client() as client:
            both = [asyncio.create_task(one(client, i, prompt)) for i in range(50)]
            clips = await gather(list(both))
            assert len({digest(each) for each in clips}) == 1
            assert len({each.headers["X-Seed"] for each in clips}) == 1
            outcomes = [each.headers["X-Cache"] for each in clips]
            assert outcomes.count("miss") == 1
            assert set(outcomes) <= {"miss", "joined", "hit"}
            new = {name: made for name, made in recorded_generations(pair.frames).items() if name not in before}
            assert len(new) == 1
            (made,) = new.values()
            assert set(made.frames.values()) == {1}
            made_by_then = pair.frames.stat().st_size
            limit = asyncio.Semaphore(16)

            async def again(number: int) -> str:
                async with limit:
                    response = await one(client, number, prompt)
                    assert digest(response) == digest(clips[0])
                    return str(response.headers["X-Cache"])

            assert set(await asyncio.gather(*(again(i) for i in range(1000)))) == {"hit"}
            assert pair.frames.stat().st_size == made_by_then, "the language model made nothing"

    async def one(client: httpx.AsyncClient, number: int, prompt: dict[str, str]) -> httpx.Response:
        return await clip(client, ("wait", "stream")[number % 2], "wav", seed=seed, seconds=1, **prompt)

    asyncio.run(scenario())


def test_when_the_first_client_disconnects_those_who_joined_get_the_whole(pair: RunningService) -> None:
    async def scenario() -> None:
        async with pair.client() as client:
            before = set(recorded_generations(pair.frames))
            leader = asyncio.create_task(clip(client, "stream", "wav", seed=600, seconds=LONG_SECONDS))
            await until(lambda: bool(set(recorded_generations(pair.frames)) - before))
            others = [asyncio.create_task(clip(client, *way, seed=600, seconds=LONG_SECONDS)) for way in WAYS]
            await asyncio.sleep(0.1)
            leader.cancel()
            clips = await gather(list(others))
            undisturbed = await gather(
                [clip(client, *way, seed=600, seconds=LONG_SECONDS, cache="off") for way in WAYS]
            )
        assert [digest(each) for each in clips] == [digest(each) for each in undisturbed]

    asyncio.run(scenario())
