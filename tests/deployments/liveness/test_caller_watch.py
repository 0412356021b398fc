"""Work for a caller that is gone ends, however it went; work for one that is up goes on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace

import pytest

from deployments.liveness import heartbeat
from deployments.liveness.caller_watch import CallerWatch
from deployments.liveness.heartbeat import CallerHeartbeat
from deployments.liveness.timings import TIMINGS

QUICK = replace(TIMINGS, caller_silence_s=2.5)

# A caller in a process of its own: it says where it is, and stays until it is killed.
CALLER = """
import asyncio
from deployments.liveness.heartbeat import CallerHeartbeat

async def main():
    async with CallerHeartbeat("127.0.0.1").call() as caller:
        print(caller, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


class Work:
    """Items without end. closed: it was ended in order."""

    def __init__(self, pause_s: float = 0.01) -> None:
        self.number = 0
        self.closed = False
        self._pause_s = pause_s

    async def items(self) -> AsyncGenerator[int, None]:
        try:
            while True:
                await asyncio.sleep(self._pause_s)
                self.number += 1
                yield self.number
        finally:
            self.closed = True


@contextlib.asynccontextmanager
async def other_process() -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """And what it gives along with its call."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", CALLER, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield process, (await process.stdout.readline()).decode().strip()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def work_until(sent: signal.Signals, here: CallerWatch, work: Work) -> None:
    """Works for a caller in a process of its own, which gets this signal, until that ends."""

    async def until_it_ends(caller: str) -> None:
        async for _ in here.while_caller_alive(work.items(), caller):
            pass

    async with other_process() as (process, caller):
        working = asyncio.create_task(until_it_ends(caller))
        await asyncio.sleep(0.3)
        assert not working.done()
        process.send_signal(sent)
        await asyncio.wait_for(working, 60)
    await here.settled()


@pytest.mark.parametrize("pause_s", [0.01, 600])
def test_work_ends_with_the_process_that_asked_for_it(pause_s: float) -> None:
    here, work = CallerWatch(), Work(pause_s)
    asyncio.run(work_until(signal.SIGKILL, here, work))
    assert work.closed
    assert len(here) == 0


async def suspended(here: CallerWatch, work: Work, resumes: bool) -> float:
    """How long the call of a suspended caller lasts beyond the end of the work for it. resumes: 1 s after that."""

    async def until_it_ends(caller: str) -> None:
        async for _ in here.while_caller_alive(work.items(), caller):
            pass

    loop = asyncio.get_running_loop()
    async with other_process() as (process, caller):
        working = asyncio.create_task(until_it_ends(caller))
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGSTOP)
        while not work.closed:
            assert not working.done()
            await asyncio.sleep(0.01)
        ended_s = loop.time()
        await asyncio.sleep(1)
        if resumes:
            process.send_signal(signal.SIGCONT)
        await asyncio.wait_for(working, 60)
    await here.settled()
    return loop.time() - ended_s


def test_work_for_a_suspended_caller_ends_and_its_call_when_the_caller_goes_on() -> None:
    """Until then the end could not be told, and Ray would wait for that in the event loop, with all other calls."""
    assert 1 <= asyncio.run(suspended(CallerWatch(QUICK), Work(), resumes=True)) < 10


def test_the_call_of_a_caller_suspended_for_good_ends_too() -> None:
    here = CallerWatch(replace(QUICK, answer_timeout_s=0.5, caller_return_s=2.0))
    assert 2 <= asyncio.run(suspended(here, Work(), resumes=False)) < 20


@pytest.mark.parametrize("fails", [False, True])
def test_work_that_ends_while_its_caller_is_suspended_is_over_when_that_goes_on(fails: bool) -> None:
    async def scenario() -> None:
        stopped = asyncio.Event()

        async def one() -> AsyncGenerator[int, None]:
            yield 1
            await stopped.wait()
            if fails:
                raise ValueError("a fault")

        async def taken(caller: str) -> list[int]:
            return [each async for each in CallerWatch().while_caller_alive(one(), caller)]

        async with other_process() as (process, caller):
            working = asyncio.create_task(taken(caller))
            await asyncio.sleep(0.3)
            process.send_signal(signal.SIGSTOP)
            stopped.set()
            await asyncio.sleep(1)
            assert not working.done()
            process.send_signal(signal.SIGCONT)
            if fails:
                with pytest.raises(ValueError, match="a fault"):
                    await working
            else:
                assert await working == [1]

    asyncio.run(scenario())


def test_work_for_one_who_is_there_goes_on_to_its_end() -> None:
    async def scenario() -> None:
        callers, here = CallerHeartbeat("127.0.0.1"), CallerWatch()

        async def three() -> AsyncGenerator[int, None]:
            for each in range(3):
                await asyncio.sleep(0.01)
                yield each

        for _ in range(2):
            async with callers.call() as caller:
                assert [each async for each in here.while_caller_alive(three(), caller)] == [0, 1, 2]
        assert len(here) == 0
        await here.settled()
        await callers.close()

    asyncio.run(scenario())


def test_what_work_fails_with_is_raised_and_one_who_stops_listening_ends_it() -> None:
    async def scenario() -> None:
        callers, here = CallerHeartbeat("127.0.0.1"), CallerWatch()

        async def fails() -> AsyncGenerator[int, None]:
            yield 1
            raise ValueError("a fault")

        async with callers.call() as caller:
            with pytest.raises(ValueError, match="a fault"):
                _ = [each async for each in here.while_caller_alive(fails(), caller)]
            work = Work()
            items = here.while_caller_alive(work.items(), caller)
            assert await anext(items) == 1
            await items.aclose()
        assert work.closed
        assert len(here) == 0
        await here.settled()
        await callers.close()

    asyncio.run(scenario())


NEVER_SEEN = ["", "127.0.0.1:1/1", "no-such-host.invalid:80/1"]


@pytest.mark.parametrize("caller", NEVER_SEEN)
def test_one_who_was_never_seen_is_taken_to_be_there(caller: str) -> None:
    async def scenario() -> None:
        items = CallerWatch().while_caller_alive(Work().items(), caller)
        assert [await anext(items) for _ in range(50)][-1] == 50
        await items.aclose()

    asyncio.run(scenario())


def test_one_who_hangs_up_at_once_for_want_of_room_is_taken_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "MAX_CONNECTIONS", 0)

    async def scenario() -> None:
        callers, here = CallerHeartbeat("127.0.0.1"), CallerWatch()
        async with callers.call() as caller:
            items = here.while_caller_alive(Work().items(), caller)
            assert [await anext(items) for _ in range(50)][-1] == 50
            await here.settled()
            assert await anext(items) == 51
            await items.aclose()
        await callers.close()

    asyncio.run(scenario())


def test_a_call_is_wanted_until_it_is_taken_back() -> None:
    async def scenario() -> None:
        callers, here = CallerHeartbeat("127.0.0.1"), CallerWatch()
        async with callers.call() as other:
            async with callers.call() as caller:
                assert await here.is_wanted(caller)
            assert not await here.is_wanted(caller)
            assert await here.is_wanted(other)
        await callers.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("caller", NEVER_SEEN)
def test_a_call_of_one_who_can_not_be_reached_is_wanted(caller: str) -> None:
    assert asyncio.run(CallerWatch().is_wanted(caller))


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
def test_a_call_of_one_who_is_gone_or_suspended_is_wanted(sent: signal.Signals) -> None:
    """Better made for nobody, once, than never for one who can't answer in time."""
    here = CallerWatch(replace(TIMINGS, answer_timeout_s=0.5))

    async def scenario() -> None:
        async with other_process() as (process, caller):
            assert await here.is_wanted(caller)
            process.send_signal(sent)
            if sent == signal.SIGKILL:
                await process.wait()
            assert await here.is_wanted(caller)

    asyncio.run(scenario())


def test_asking_is_cancelled_at_any_moment_without_a_connection_left() -> None:
    async def scenario() -> None:
        callers, here = CallerHeartbeat("127.0.0.1"), CallerWatch()
        async with callers.call() as caller:
            for turns in range(40):
                call = asyncio.create_task(here.is_wanted(caller))
                for _ in range(turns):
                    await asyncio.sleep(0)
                call.cancel()
                await asyncio.wait({call})
        await callers.close()
        gc.collect()  # a connection that was lost on its way warns now

    asyncio.run(scenario())
