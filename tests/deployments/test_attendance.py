"""Work for a caller that is gone ends, however it went; work for one that is there goes on."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncGenerator

import pytest

from deployments import attendance
from deployments.attendance import Attendance
from deployments.presence import Presence

# A caller in a process of its own: it says where it is, and stays until it is killed.
CALLER = """
import asyncio
from deployments.presence import Presence

async def main():
    print(await Presence("127.0.0.1").address(), flush=True)
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


async def work_until(sent: signal.Signals, here: Attendance, work: Work) -> None:
    """Works for a caller in a process of its own, which gets this signal, until that ends."""

    async def until_it_ends(address: str) -> None:
        async for _ in here.while_attended(work.items(), address):
            pass

    caller = await asyncio.create_subprocess_exec(sys.executable, "-c", CALLER, stdout=asyncio.subprocess.PIPE)
    try:
        assert caller.stdout is not None
        working = asyncio.create_task(until_it_ends((await caller.stdout.readline()).decode().strip()))
        await asyncio.sleep(0.3)
        assert not working.done()
        caller.send_signal(sent)
        await asyncio.wait_for(working, 60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            caller.kill()
        await caller.wait()
    await here.settled()


@pytest.mark.parametrize("pause_s", [0.01, 600])
def test_work_ends_with_the_process_that_asked_for_it(pause_s: float) -> None:
    here, work = Attendance(), Work(pause_s)
    asyncio.run(work_until(signal.SIGKILL, here, work))
    assert work.closed
    assert len(here) == 0


def test_work_for_one_who_stands_still_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendance, "SILENCE_S", 2.5)

    work = Work()
    asyncio.run(work_until(signal.SIGSTOP, Attendance(), work))
    assert work.closed


def test_work_for_one_who_is_there_goes_on_to_its_end() -> None:
    async def scenario() -> None:
        presence, here = Presence("127.0.0.1"), Attendance()
        address = await presence.address()
        assert await presence.address() == address

        async def three() -> AsyncGenerator[int, None]:
            for each in range(3):
                await asyncio.sleep(0.01)
                yield each

        for _ in range(2):
            assert [each async for each in here.while_attended(three(), address)] == [0, 1, 2]
        assert len(here) == 0
        await here.settled()
        await presence.close()

    asyncio.run(scenario())


def test_what_work_fails_with_is_raised_and_one_who_stops_listening_ends_it() -> None:
    async def scenario() -> None:
        presence, here = Presence("127.0.0.1"), Attendance()
        address = await presence.address()

        async def fails() -> AsyncGenerator[int, None]:
            yield 1
            raise ValueError("a fault")

        with pytest.raises(ValueError, match="a fault"):
            _ = [each async for each in here.while_attended(fails(), address)]
        work = Work()
        items = here.while_attended(work.items(), address)
        assert await anext(items) == 1
        await items.aclose()
        assert work.closed
        assert len(here) == 0
        await here.settled()
        await presence.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("address", ["", "127.0.0.1:1", "no-such-host.invalid:80"])
def test_one_who_was_never_seen_is_taken_to_be_there(address: str) -> None:
    async def scenario() -> None:
        items = Attendance().while_attended(Work().items(), address)
        assert [await anext(items) for _ in range(50)][-1] == 50
        await items.aclose()

    asyncio.run(scenario())
