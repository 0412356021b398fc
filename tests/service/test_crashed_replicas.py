"""Crashed replicas: real ones are killed, and no clip is lost or made twice."""

from __future__ import annotations

import asyncio
import random
import signal

import pytest

from tests.service.conftest import PAIR as APP
from tests.service.conftest import RunningService, processes
from tests.service.support.recording_model import LETHAL_SEED, recorded_generations
from tests.service.support.two_replicas import (
    LONG_SECONDS,
    WAYS,
    all_up,
    body,
    clip,
    digest,
    gather,
    kill_in_the_middle,
    largest_window,
    num_made_again,
    recorded_generation_of,
    until,
)

SECONDS = 15


def kill_in_rounds(pair: RunningService, rounds: int, seconds: int) -> None:
    """Each round: four clips at once, waited for and streamed; a process that makes one is killed at a random frame."""
    draw, num_frames = random.Random(rounds), 50 * seconds

    async def scenario() -> None:
        resumed = 0
        async with pair.client() as client:
            for number in range(rounds):
                seeds = [1000 * rounds + 10 * number + i for i in range(len(WAYS))]
                before = set(recorded_generations(pair.frames))
                requests = [{"seed": seed, "seconds": seconds} for seed in seeds]
                calls = [clip(client, *way, **each) for way, each in zip(WAYS, requests, strict=True)]
                clips = asyncio.ensure_future(gather(list(calls)))
                await kill_in_the_middle(pair.frames, before, num_frames, draw)
                disturbed = await clips
                for each in disturbed:
                    made = recorded_generation_of(pair, each)
                    assert set(made.frames) == set(range(num_frames))
                    assert num_made_again(made.frames) <= largest_window(num_frames) * (len(made.processes) - 1)
                    assert each.headers["X-Cache"] == "miss"
                    resumed += len(made.processes) > 1
                undisturbed = await gather(
                    [clip(client, *way, **each, cache="off") for way, each in zip(WAYS, requests, strict=True)]
                )
                assert [digest(each) for each in disturbed] == [digest(each) for each in undisturbed]
                await all_up(APP, "tiny-language-model")
        assert resumed >= rounds

    asyncio.run(scenario())


def test_a_killed_language_model_changes_no_byte_of_any_clip(pair: RunningService) -> None:
    kill_in_rounds(pair, rounds=1, seconds=SECONDS)


@pytest.mark.slow
def test_twenty_clips_survive_crashes_at_random_moments(pair: RunningService) -> None:
    kill_in_rounds(pair, rounds=5, seconds=LONG_SECONDS)


@pytest.mark.slow
def test_bystanders_of_a_poison_request_get_their_clips(pair: RunningService) -> None:
    async def scenario() -> None:
        async with pair.client() as client:
            before = set(recorded_generations(pair.frames))
            lethal = asyncio.create_task(client.post("/v1/music", json=body(LETHAL_SEED, 10)))
            requests = [{"seed": 500 + i, "seconds": LONG_SECONDS} for i in range(len(WAYS))]
            clips = await gather([clip(client, *way, **each) for way, each in zip(WAYS, requests, strict=True)])
            refused = await lethal
            assert (refused.status_code, refused.json()["error"]["type"]) == (500, "worker_lost_twice")
            new = {name: made for name, made in recorded_generations(pair.frames).items() if name not in before}
            names = {each.headers["X-Generation-Id"][:16] for each in clips}
            assert [len(made.processes) for name, made in new.items() if name not in names] == [2]
            undisturbed = await gather(
                [clip(client, *way, **each, cache="off") for way, each in zip(WAYS, requests, strict=True)]
            )
            assert [digest(each) for each in clips] == [digest(each) for each in undisturbed]
        await all_up(APP, "tiny-language-model")

    asyncio.run(scenario())


@pytest.mark.slow
@pytest.mark.parametrize("deployment", ["pipeline", "tiny-text-encoder"])
def test_a_crashed_replica_of_another_stage_changes_no_byte_either(pair: RunningService, deployment: str) -> None:
    """The codec decoder's is in test_streaming.py."""
    number = {"pipeline": 2}.get(deployment, 1)

    async def scenario() -> None:
        async with pair.client() as client:
            await all_up(APP, deployment, number)
            first_seed = 700 + 10 * len(deployment)
            requests = [{"seed": first_seed + i, "seconds": LONG_SECONDS} for i in range(len(WAYS))]
            before = set(recorded_generations(pair.frames))
            calls = [clip(client, *way, **each) for way, each in zip(WAYS, requests, strict=True)]
            clips = asyncio.ensure_future(gather(list(calls)))
            await until(lambda: bool(set(recorded_generations(pair.frames)) - before))
            processes(APP, deployment)[0].kill()
            disturbed = await clips
            undisturbed = await gather(
                [clip(client, *way, **each, cache="off") for way, each in zip(WAYS, requests, strict=True)]
            )
            assert [digest(each) for each in disturbed] == [digest(each) for each in undisturbed]
            await all_up(APP, deployment, number)

    asyncio.run(scenario())


@pytest.mark.slow
def test_a_language_model_that_gets_sigterm_loses_no_clip(pair: RunningService) -> None:

    async def scenario() -> None:
        async with pair.client() as client:
            before = set(recorded_generations(pair.frames))
            running = [
                asyncio.create_task(clip(client, *way, seed=900 + i, seconds=LONG_SECONDS))
                for i, way in enumerate(WAYS)
            ]
            await until(lambda: bool(set(recorded_generations(pair.frames)) - before))
            drained = processes(APP, "tiny-language-model")[0]
            drained.send_signal(signal.SIGTERM)  # what a node's shutdown sends
            clips = await gather(list(running))
            await until(lambda: drained not in processes(APP, "tiny-language-model"))
            undisturbed = [
                await clip(client, *way, seed=900 + i, seconds=LONG_SECONDS, cache="off") for i, way in enumerate(WAYS)
            ]
            assert [digest(each) for each in clips] == [digest(each) for each in undisturbed]
        await all_up(APP, "tiny-language-model")

    asyncio.run(scenario())
