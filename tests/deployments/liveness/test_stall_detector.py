"""What is called of an event loop that was held up is told so, and nothing else is."""

from __future__ import annotations

import asyncio

import pytest

from deployments.liveness.stalls import GAP_S, RECENT_S, TICK_S, Wakeup
from tests.virtual_time import run


class Clock:
    """The loop's own time, and what the process slept beside it."""

    slept_s = 0.0

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() + self.slept_s


async def ticking(clock: Clock) -> Wakeup:
    """One that has been called of long ago."""
    wakeup = Wakeup(clock)
    wakeup.is_recent()
    await asyncio.sleep(100 * TICK_S)
    return wakeup


def test_a_loop_that_ticks_was_not_held_up() -> None:
    async def scenario() -> None:
        wakeup = await ticking(Clock())
        for _ in range(20):
            assert not wakeup.is_recent()
            await asyncio.sleep(0.3)
        wakeup.close()

    run(scenario())


@pytest.mark.parametrize("after_s", [0.0, TICK_S / 2, RECENT_S - TICK_S])
def test_calls_of_a_loop_that_was_held_up_are_told_so_for_a_while(after_s: float) -> None:
    """The first of them may come before a tick does."""

    async def scenario() -> None:
        clock = Clock()
        wakeup = await ticking(clock)
        clock.slept_s += GAP_S + TICK_S
        await asyncio.sleep(after_s)
        assert wakeup.is_recent()
        await asyncio.sleep(RECENT_S)
        assert not wakeup.is_recent()
        wakeup.close()

    run(scenario())


def test_a_pause_that_any_busy_loop_may_have_is_none() -> None:
    async def scenario() -> None:
        clock = Clock()
        wakeup = await ticking(clock)
        clock.slept_s += GAP_S - TICK_S
        assert not wakeup.is_recent()
        wakeup.close()

    run(scenario())


def test_the_first_call_may_have_waited_for_the_loop_to_come_back() -> None:
    async def scenario() -> None:
        wakeup = Wakeup(Clock())
        assert wakeup.is_recent()
        wakeup.close()

    run(scenario())


def test_nothing_ticks_before_the_first_call_and_after_the_end() -> None:
    async def scenario() -> None:
        wakeup = Wakeup(Clock())
        wakeup.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        wakeup.is_recent()
        assert len(asyncio.all_tasks()) == 2
        wakeup.close()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(scenario())
