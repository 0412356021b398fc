"""Real replicas that are suspended (SIGSTOP) and resume: others take the requests, and nothing is made twice."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.service.conftest import PAIR as APP
from tests.service.conftest import RunningService, processes
from tests.service.support.recording_model import recorded_generations
from tests.service.support.two_replicas import (
    LONG_SECONDS,
    WAYS,
    all_up,
    clip,
    digest,
    gather,
    largest_window,
    num_made_again,
    recorded_generation_of,
    until,
    until_async,
)


@pytest.mark.slow
def test_requests_while_half_of_all_replicas_are_suspended_go_to_the_others(
    pair: RunningService,
) -> None:
    """SIGSTOP for ten seconds, in the middle of clips. No request fails, and after SIGCONT nothing is made twice.

    What Serve's proxy hands to the suspended ingress waits there: up to half of the requests that come at once. And a
    codec replica that had an answer for that ingress waits in its event loop until the answer is taken
    (`CallerWatch`). So the test does not assert how many clips come within the ten seconds.
    """
    suspended = ("ingress", "pipeline", "tiny-language-model")

    async def scenario() -> None:
        async with pair.client() as client:
            for each in suspended:
                await all_up(APP, each)
            before = set(recorded_generations(pair.frames))
            running = [
                asyncio.create_task(clip(client, *way, seed=800 + i, seconds=LONG_SECONDS))
                for i, way in enumerate(WAYS)
            ]
            await until(lambda: bool(set(recorded_generations(pair.frames)) - before))
            stopped = [processes(APP, each)[0] for each in suspended]
            try:
                for process in stopped:
                    process.suspend()
                calls = [clip(client, *WAYS[i % 4], seed=810 + i, seconds=2) for i in range(6)]
                meanwhile = [asyncio.create_task(call) for call in calls]
                # Shorter than a lease: later, what the suspended pipeline was making would be made elsewhere.
                await asyncio.sleep(10)
            finally:
                for process in stopped:
                    process.resume()
            clips = await gather([*running, *meanwhile])
            for each in clips:
                made = recorded_generation_of(pair, each)
                # Attempts, not processes: a resumed replica gives up what it had, and may then get it again.
                assert num_made_again(made.frames) <= largest_window(50 * LONG_SECONDS) * (len(made.attempts) - 1)
            makers = [recorded_generation_of(pair, each).processes[-1] for each in clips[len(WAYS) :]]
            assert any(maker != stopped[-1].pid for maker in makers)
            undisturbed = [
                await clip(client, *way, seed=800 + i, seconds=LONG_SECONDS, cache="off") for i, way in enumerate(WAYS)
            ]
            assert [digest(each) for each in clips[: len(WAYS)]] == [digest(each) for each in undisturbed]
            await until_async(lambda: is_ready(client))

    asyncio.run(scenario())


async def is_ready(client: httpx.AsyncClient) -> bool:
    return (await client.get("/ready")).status_code == 200
