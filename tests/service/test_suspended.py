"""Real replicas that are stopped for a while and then wake: nobody waits for them, and nothing is made twice."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.service.conftest import PAIR as APP
from tests.service.conftest import RunningService, processes
from tests.service.support.pair import (
    LONG_SECONDS,
    WAYS,
    all_up,
    clip,
    digest,
    gathered,
    largest_window,
    made_again,
    made_by_name,
    until,
    until_async,
)
from tests.service.support.recorded import recorded


@pytest.mark.slow
def test_requests_that_come_while_half_of_all_replicas_stand_still_go_to_the_others(
    pair: RunningService,
) -> None:
    """SIGSTOP for ten seconds, in the middle of clips. Nobody fails, and after SIGCONT nothing is made twice.

    What Serve's proxy hands to the ingress that stands still waits there: of a crowd that comes at once, up to half.
    And a codec replica that had an answer for that one waits in its event loop until it is taken (`while_attended`):
    how many get theirs within the ten seconds is not told here.
    """
    held_up = ("ingress", "pipeline", "tiny-language-model")

    async def scenario() -> None:
        async with pair.client() as client:
            for each in held_up:
                await all_up(APP, each)
            before = set(recorded(pair.frames))
            under_way = [
                asyncio.create_task(clip(client, *way, seed=800 + i, seconds=LONG_SECONDS))
                for i, way in enumerate(WAYS)
            ]
            await until(lambda: bool(set(recorded(pair.frames)) - before))
            stopped = [processes(APP, each)[0] for each in held_up]
            try:
                for process in stopped:
                    process.suspend()
                calls = [clip(client, *WAYS[i % 4], seed=810 + i, seconds=2) for i in range(6)]
                meanwhile = [asyncio.create_task(call) for call in calls]
                # Less than a lease: for longer, and what a pipeline that stands still had under way is made elsewhere.
                await asyncio.sleep(10)
            finally:
                for process in stopped:
                    process.resume()
            clips = await gathered([*under_way, *meanwhile])
            for each in clips:
                made = made_by_name(pair, each)
                # Attempts, not processes: one that wakes gives up what it had, and may be the one that goes on with it.
                assert made_again(made.frames) <= largest_window(50 * LONG_SECONDS) * (len(made.attempts) - 1)
            makers = [made_by_name(pair, each).processes[-1] for each in clips[len(WAYS) :]]
            assert any(maker != stopped[-1].pid for maker in makers)
            undisturbed = [
                await clip(client, *way, seed=800 + i, seconds=LONG_SECONDS, cache="off") for i, way in enumerate(WAYS)
            ]
            assert [digest(each) for each in clips[: len(WAYS)]] == [digest(each) for each in undisturbed]
            await until_async(lambda: is_ready(client))

    asyncio.run(scenario())


async def is_ready(client: httpx.AsyncClient) -> bool:
    return (await client.get("/ready")).status_code == 200
