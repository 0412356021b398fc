"""A silence that one slept through oneself is nobody's fault."""

from __future__ import annotations

import asyncio

import pytest

from deployments.liveness.stalls import within
from tests.virtual_time import run


async def after(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "here"


def held_up(seconds: float) -> None:
    """As a process that is stopped: the clock goes on, and nothing else does."""
    asyncio.get_running_loop()._virtual.now_s += seconds  # type: ignore[attr-defined]


def test_what_comes_in_time_is_returned_and_what_does_not_is_a_time_out() -> None:
    async def scenario() -> None:
        assert await within(after(6.9), 7) == "here"
        with pytest.raises(asyncio.TimeoutError):
            await within(after(7.1), 7)

    run(scenario())


def test_what_came_while_this_process_was_held_up_is_heard() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        # It is there when the process wakes, and read a little later than the time-out is found to be past.
        came: asyncio.Future[str] = loop.create_future()
        loop.call_later(2, held_up, 60)
        loop.call_later(62.2, came.set_result, "here")
        assert await within(came, 7) == "here"

    run(scenario())


def test_who_is_silent_after_that_has_no_more_than_its_time() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(2, held_up, 60)
        with pytest.raises(asyncio.TimeoutError):
            await within(after(1_000), 7)
        assert 62 < loop.time() <= 2 + 60 + 7

    run(scenario())


def test_who_waits_no_longer_cancels_what_was_waited_for() -> None:
    async def scenario() -> None:
        waiting = asyncio.ensure_future(after(1_000))
        outer = asyncio.ensure_future(within(waiting, 7))
        await asyncio.sleep(1)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert waiting.cancelled()
        late = asyncio.ensure_future(after(1_000))
        with pytest.raises(asyncio.TimeoutError):
            await within(late, 7)
        assert late.cancelled()

    run(scenario())
