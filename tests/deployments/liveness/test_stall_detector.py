"""Calls on an event loop that was held up are told so, and no others are."""

from __future__ import annotations

import asyncio

import pytest

from deployments.liveness.stalls import StallDetector
from deployments.liveness.timings import TIMINGS
from tests.virtual_time import run

TICK_S, STALL_S, AFTER_STALL_S = TIMINGS.tick_s, TIMINGS.stall_s, TIMINGS.after_stall_s


class Clock:
    """The loop's own time, and what the process slept beside it."""

    slept_s = 0.0

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() + self.slept_s


async def ticking(clock: Clock) -> StallDetector:
    """One that has been called of long ago."""
    detector = StallDetector(clock)
    detector.stalled_recently()
    await asyncio.sleep(100 * TICK_S)
    return detector


def test_a_loop_that_ticks_was_not_held_up() -> None:
    async def scenario() -> None:
        detector = await ticking(Clock())
        for _ in range(20):
            assert not detector.stalled_recently()
            await asyncio.sleep(0.3)
        detector.close()

    run(scenario())


@pytest.mark.parametrize("after_s", [0.0, TICK_S / 2, AFTER_STALL_S - TICK_S])
def test_calls_of_a_loop_that_was_held_up_are_told_so_for_a_while(after_s: float) -> None:
    """The first of them may come before a tick does."""

    async def scenario() -> None:
        clock = Clock()
        detector = await ticking(clock)
        clock.slept_s += STALL_S + TICK_S
        await asyncio.sleep(after_s)
        assert detector.stalled_recently()
        await asyncio.sleep(AFTER_STALL_S)
        assert not detector.stalled_recently()
        detector.close()

    run(scenario())


def test_a_pause_that_any_busy_loop_may_have_is_none() -> None:
    async def scenario() -> None:
        clock = Clock()
        detector = await ticking(clock)
        clock.slept_s += STALL_S - TICK_S
        assert not detector.stalled_recently()
        detector.close()

    run(scenario())


def test_the_first_call_may_have_waited_for_the_loop_to_come_back() -> None:
    async def scenario() -> None:
        detector = StallDetector(Clock())
        assert detector.stalled_recently()
        detector.close()

    run(scenario())


def test_nothing_ticks_before_the_first_call_and_after_the_end() -> None:
    async def scenario() -> None:
        detector = StallDetector(Clock())
        detector.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        detector.stalled_recently()
        assert len(asyncio.all_tasks()) == 2
        detector.close()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(scenario())
