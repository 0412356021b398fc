"""Calls that lay before an event loop that was held up wait a moment, and no others do."""

from __future__ import annotations

import asyncio

from deployments.wakeup import GAP_S, GRACE_S, TICK_S, Wakeup
from tests.virtual_time import run


class Clock:
    """The loop's own time, and what the process slept beside it."""

    slept_s = 0.0

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() + self.slept_s


async def waited_s(wakeup: Wakeup) -> float:
    began_s = asyncio.get_running_loop().time()
    await wakeup.over()
    return asyncio.get_running_loop().time() - began_s


def test_nobody_waits_while_the_loop_ticks() -> None:
    async def scenario() -> None:
        wakeup = Wakeup(Clock())
        assert await waited_s(wakeup) == 0
        await asyncio.sleep(100 * TICK_S)
        assert await waited_s(wakeup) == 0
        wakeup.close()

    run(scenario())


def test_all_who_were_there_when_the_loop_woke_wait_and_are_cancelled_meanwhile_if_nobody_wants_them() -> None:
    async def scenario() -> None:
        clock = Clock()
        wakeup, begun = Wakeup(clock), []

        async def call(name: str) -> None:
            await wakeup.over()
            begun.append(name)

        await call("before")
        await asyncio.sleep(10)
        clock.slept_s += GAP_S + TICK_S
        calls = [asyncio.create_task(call(name)) for name in ("wanted", "unwanted", "wanted too")]
        await asyncio.sleep(0)
        calls[1].cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert sorted(begun) == ["before", "wanted", "wanted too"]
        assert await waited_s(wakeup) == 0, "the moment is over"
        wakeup.close()

    run(scenario())


def test_the_moment_is_short() -> None:
    async def scenario() -> None:
        clock = Clock()
        wakeup = Wakeup(clock)
        await wakeup.over()
        await asyncio.sleep(10)
        clock.slept_s += 10
        assert 0 < await waited_s(wakeup) <= GRACE_S
        wakeup.close()

    run(scenario())
