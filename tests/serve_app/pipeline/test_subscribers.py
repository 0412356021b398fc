"""Those who listen to one generation come and go, and each hears what it asked for."""

from __future__ import annotations

import asyncio

import numpy as np

from deployments.messages import Beat
from serve_app.pipeline.workers import MOST_FRAMES
from tests.serve_app.pipeline.making import begun, heard
from tests.serve_app.pipeline.scripted import ScriptedStages, Waits, codes_of
from tests.virtual_time import run


def test_listeners_hear_the_whole_from_the_beginning_whenever_they_come() -> None:
    async def scenario() -> None:
        stages = ScriptedStages(step_s=0.1)
        generation = begun(stages)
        lengths = [300, 100, 300, 450, 20]
        listening = [asyncio.create_task(heard(generation.join(lengths[0])))]
        running = asyncio.create_task(generation.run())
        for length in lengths[1:]:
            await asyncio.sleep(5)
            listening.append(asyncio.create_task(heard(generation.join(length))))
        await running
        for length, codes in zip(lengths, await asyncio.gather(*listening), strict=True):
            assert np.array_equal(codes, codes_of(1, length))
        assert set(stages.made.values()) == {1}, "no frame was made twice"
        assert sum(stages.made.values()) == 450

    run(scenario())


def test_a_listener_without_frames_hears_a_beat_every_second() -> None:
    async def scenario() -> None:
        generation = begun(ScriptedStages([Waits(10)]))
        ticket = generation.join(20)
        running = asyncio.create_task(generation.run())
        assert ticket is not None
        beats = [item async for item in ticket.listen() if isinstance(item, Beat)]
        assert 9 <= len(beats) <= 11
        await running

    run(scenario())


def test_the_last_to_leave_frees_the_slot_and_one_who_comes_then_is_too_late() -> None:
    async def scenario() -> None:
        stages = ScriptedStages(step_s=0.1)
        generation = begun(stages)
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
        assert 0 < generation.frames.number < 300
        assert generation.join(300) is None

    run(scenario())


def test_when_who_wanted_most_has_left_no_more_is_made_than_the_others_want() -> None:
    async def scenario() -> None:
        stages = ScriptedStages(step_s=0.1)
        generation = begun(stages)
        short, long = generation.join(100), generation.join(1500)
        running = asyncio.create_task(generation.run())
        assert long is not None
        await asyncio.sleep(2)
        long.close()
        assert np.array_equal(await heard(short), codes_of(1, 100))
        await running
        assert generation.frames.number < 100 + 2 * MOST_FRAMES

    run(scenario())
