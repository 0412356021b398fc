"""Subscribers to one generation come and go, and each gets the frames that it asked for."""

from __future__ import annotations

import asyncio

import numpy as np

from deployments.messages import Heartbeat
from serve_app.pipeline.workers import MAX_CHUNK_FRAMES
from tests.serve_app.pipeline.scripted_generation import new_generation, receive_all
from tests.serve_app.pipeline.scripted_stages import Queues, ScriptedStages, codes_of
from tests.virtual_time import run


def test_subscribers_get_every_frame_from_the_first_whenever_they_join() -> None:
    async def scenario() -> None:
        stages = ScriptedStages(step_s=0.1)
        generation = new_generation(stages)
        lengths = [300, 100, 300, 450, 20]
        listening = [asyncio.create_task(receive_all(generation.join(lengths[0])))]
        running = asyncio.create_task(generation.run())
        for length in lengths[1:]:
            await asyncio.sleep(5)
            listening.append(asyncio.create_task(receive_all(generation.join(length))))
        await running
        for length, codes in zip(lengths, await asyncio.gather(*listening), strict=True):
            assert np.array_equal(codes, codes_of(1, length))
        assert set(stages.made.values()) == {1}, "no frame was made twice"
        assert sum(stages.made.values()) == 450

    run(scenario())


def test_a_subscriber_without_frames_gets_a_heartbeat_every_second() -> None:
    async def scenario() -> None:
        generation = new_generation(ScriptedStages([Queues(10)]))
        subscription = generation.join(20)
        running = asyncio.create_task(generation.run())
        assert subscription is not None
        beats = [item async for item in subscription.stream() if isinstance(item, Heartbeat)]
        assert 9 <= len(beats) <= 11
        await running

    run(scenario())


def test_the_last_to_leave_frees_the_slot_and_nobody_can_join_then() -> None:
    async def scenario() -> None:
        stages = ScriptedStages(step_s=0.1)
        generation = new_generation(stages)
        first, second = generation.join(300), generation.join(300)
        running = asyncio.create_task(generation.run())
        assert first is not None
        assert second is not None
        await asyncio.sleep(5)
        first.close()
        first.close()
        await asyncio.sleep(5)
        assert stages.num_running == 1
        second.close()
        await running
        assert stages.num_running == 0
        assert 0 < generation.frames.num_frames < 300
        assert generation.join(300) is None

    run(scenario())


def test_when_the_longest_subscription_ends_no_more_is_made_than_the_others_want() -> None:
    async def scenario() -> None:
        stages = ScriptedStages(step_s=0.1)
        generation = new_generation(stages)
        short, long = generation.join(100), generation.join(1500)
        running = asyncio.create_task(generation.run())
        assert long is not None
        await asyncio.sleep(2)
        long.close()
        assert np.array_equal(await receive_all(short), codes_of(1, 100))
        await running
        assert generation.frames.num_frames < 100 + 2 * MAX_CHUNK_FRAMES

    run(scenario())
