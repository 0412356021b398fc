"""A generation outlives its workers: these crash, stall and refuse as scripted, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.language_model.errors import EngineFull
from deployments.liveness.timings import TIMINGS
from deployments.messages import CodeFrames
from serve_app.errors import DeadlineExceeded, WorkerLostTwice
from serve_app.pipeline.workers import MARGIN_FRAMES, MAX_LOSSES, RetryTurns, WorkerLost, chunk_ends
from serve_app.settings.model import Deadline
from tests.serve_app.pipeline.scripted_generation import new_generation, run_to_end
from tests.serve_app.pipeline.scripted_stages import (
    Crashes,
    InMemoryLeases,
    Queues,
    Refuses,
    ScriptedStages,
    SlowsDown,
    Stalls,
    codes_of,
)
from tests.virtual_time import run


@settings(deadline=None)
@given(at=st.lists(st.integers(0, 299), unique=True, max_size=MAX_LOSSES - 1).map(sorted))
def test_whenever_workers_crash_the_codes_are_those_of_an_undisturbed_run(at: list[int]) -> None:
    async def scenario() -> None:
        stages = ScriptedStages([Crashes(frame) for frame in at])
        generation = new_generation(stages)
        try:
            codes = await run_to_end(generation, 300)
        except WorkerLostTwice:
            assert given_up(at)
            return
        assert not given_up(at)
        assert np.array_equal(codes, codes_of(1, 300))
        made_again = sum(stages.made.values()) - 300
        assert made_again <= sum(chunk_back(frame) for frame in at), "no more than a chunk each time"

    run(scenario())


def ends() -> list[int]:
    return [0, *chunk_ends(300, 4)]


def known(frame: int) -> int:
    """Frames that were received from a worker that crashes before making this one."""
    return max(end for end in ends() if end <= frame)


def given_up(at: list[int]) -> bool:
    """Whether two deaths before these frames are at one place."""
    return any(known(second) <= known(first) + MARGIN_FRAMES for first, second in itertools.pairwise(at))


def chunk_back(frame: int) -> int:
    return frame - known(frame)


def test_a_generation_that_loses_two_workers_at_one_place_gets_no_third() -> None:
    async def scenario() -> None:
        stages = ScriptedStages([Crashes(50), Crashes(50)])
        with pytest.raises(WorkerLostTwice, match="it is not tried again"):
            await run_to_end(new_generation(stages), 100)
        assert len(stages.requests) == 2

    run(scenario())


def test_a_generation_that_keeps_losing_its_worker_is_given_up_though_it_gets_further() -> None:
    async def scenario() -> None:
        stages = ScriptedStages([Crashes(frame) for frame in range(50, 1500, 250)])
        with pytest.raises(WorkerLostTwice):
            await run_to_end(new_generation(stages), 1500)
        assert len(stages.requests) == MAX_LOSSES

    run(scenario())


def test_bystanders_of_a_poison_request_get_their_clips() -> None:
    """All are on one worker; whatever kills takes the others with it, twice."""

    async def scenario() -> None:
        lethal = 7

        class OneWorker(ScriptedStages):
            """Seed 7 kills at frame 60 whoever runs beside it."""

            deaths = 0

            async def generate(self, request: Any) -> Any:
                death = self.deaths
                async for item in super().generate(request):
                    if isinstance(item, CodeFrames) and request.seed == lethal and item.first_frame + 1 > 40:
                        self.deaths += 1
                        raise WorkerLost("killed")
                    if self.deaths > death:
                        raise WorkerLost("killed by another")
                    yield item

        # Of two pipelines, which have leases in common and nothing else.
        stages, leases = OneWorker(step_s=0.01), InMemoryLeases()
        pipelines = itertools.cycle([RetryTurns("scripted", leases), RetryTurns("scripted", leases)])
        generations = [new_generation(stages, seed, next(pipelines)) for seed in (1, 2, lethal, 3, 4)]
        results = await asyncio.gather(*(run_to_end(each, 400) for each in generations), return_exceptions=True)
        assert stages.deaths == 2
        for seed, result in zip((1, 2, lethal, 3, 4), results, strict=True):
            if seed == lethal:
                assert isinstance(result, WorkerLostTwice)
            else:
                assert np.array_equal(result, codes_of(seed, 400)), f"the bystander with seed {seed}"
        assert not leases.held

    run(scenario())


def test_a_worker_without_a_heartbeat_is_replaced() -> None:
    async def scenario() -> None:
        stages = ScriptedStages([Stalls(30)])
        began_s = asyncio.get_running_loop().time()
        codes = await run_to_end(new_generation(stages), 100)
        assert np.array_equal(codes, codes_of(1, 100))
        assert stages.num_running == 0, "the place at the first one was given back"
        assert asyncio.get_running_loop().time() - began_s < TIMINGS.engine_silence_s + 1

    run(scenario())


def test_a_call_that_no_worker_takes_is_retried_and_counts_as_no_loss() -> None:
    async def scenario() -> None:
        stages = ScriptedStages([Stalls(0)] * 4)
        codes = await run_to_end(new_generation(stages, deadline=Deadline(2, 5 * TIMINGS.engine_first_sign_s)), 100)
        assert np.array_equal(codes, codes_of(1, 100))
        assert len(stages.requests) == 5

    run(scenario())


def test_a_slow_worker_is_waited_for() -> None:
    async def scenario() -> None:
        stages = ScriptedStages([SlowsDown(0, 3 * TIMINGS.engine_silence_s)])
        codes = await run_to_end(new_generation(stages, deadline=Deadline(2, 1000)), 30)
        assert np.array_equal(codes, codes_of(1, 30))
        assert len(stages.requests) == 1

    run(scenario())


def test_the_deadline_counts_from_the_slot_and_frees_it() -> None:
    async def scenario() -> None:
        stages = ScriptedStages([Queues(1000)])
        assert np.array_equal(await run_to_end(new_generation(stages), 100), codes_of(1, 100)), "waiting is not counted"
        stages = ScriptedStages([SlowsDown(20, 40)])
        generation = new_generation(stages, deadline=Deadline(2, 60))
        with pytest.raises(DeadlineExceeded, match="within 60 s"):
            await run_to_end(generation, 1500)
        assert stages.num_running == 0
        assert np.array_equal(generation.frames.codes(), codes_of(1, generation.frames.num_frames)), (
            "what was made is there"
        )

    run(scenario())


def test_the_deadline_does_not_begin_anew_when_a_worker_is_lost() -> None:
    async def scenario() -> None:
        stages = ScriptedStages([Stalls(frame) for frame in (20, 200, 380)], step_s=0.05)
        with pytest.raises(DeadlineExceeded):
            await run_to_end(new_generation(stages, deadline=Deadline(0.0, 30)), 1500)

    run(scenario())


def test_a_refusal_reaches_the_subscribers() -> None:
    async def scenario() -> None:
        with pytest.raises(EngineFull):
            await run_to_end(new_generation(ScriptedStages([Refuses(EngineFull("no place"))])), 100)

    run(scenario())


def test_a_retried_generation_has_priority() -> None:
    async def scenario() -> None:
        stages = ScriptedStages([Crashes(30)])
        await run_to_end(new_generation(stages), 100)
        assert [request.priority for request in stages.requests] == [False, True]
        assert len({request.request_id for request in stages.requests}) == 2

    run(scenario())


def test_a_call_of_a_lost_text_encoder_is_retried_once() -> None:
    async def scenario() -> None:
        stages = ScriptedStages()
        stages.encoder_losses = 1
        assert np.array_equal(await run_to_end(new_generation(stages), 20), codes_of(1, 20))
        stages.encoder_losses = 5
        with pytest.raises(WorkerLostTwice):
            await run_to_end(new_generation(stages), 20)
        assert len(stages.encoded) == 4

    run(scenario())


def test_it_resumes_from_given_codes_and_text_states() -> None:
    async def scenario() -> None:
        stages = ScriptedStages()
        states = np.ones((3, 8), np.float32)
        codes = await run_to_end(new_generation(stages, codes=codes_of(1, 77), text_states=states), 100)
        assert np.array_equal(codes, codes_of(1, 100))
        assert stages.encoded == []
        assert stages.requests[0].text_states is states
        assert sum(stages.made.values()) == 23

    run(scenario())
