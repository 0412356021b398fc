"""A caller answers whether it wants a call, and no replica can hold it up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from deployments.liveness import heartbeat
from deployments.liveness.heartbeat import HEARTBEAT, UNWANTED, WANTED, CallerHeartbeat
from deployments.liveness.timings import TIMINGS

QUICK = replace(TIMINGS, heartbeat_s=0.01)


@asynccontextmanager
async def new_caller() -> AsyncIterator[CallerHeartbeat]:
    here = CallerHeartbeat("127.0.0.1", QUICK)
    try:
        yield here
    finally:
        await here.close()


@asynccontextmanager
async def connected(caller: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, port = caller.partition("/")[0].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


async def answer(caller: str, line: bytes) -> bytes:
    """What comes beside heartbeats."""
    async with connected(caller) as (reader, writer):
        writer.write(line)
        while (byte := await asyncio.wait_for(reader.read(1), 10)) == HEARTBEAT:
            pass
        return byte


def test_a_call_is_wanted_while_its_block_runs() -> None:
    async def scenario() -> None:
        async with new_caller() as here, here.call() as first:
            async with here.call() as second:
                assert first != second
                assert first.partition("/")[0] == second.partition("/")[0], "one port for all calls"
                ids = [each.partition("/")[2].encode() for each in (first, second)]
                assert [await answer(first, each + b"\n") for each in ids] == [WANTED, WANTED]
            assert [await answer(first, each + b"\n") for each in ids] == [WANTED, UNWANTED]

    asyncio.run(scenario())


def test_a_call_whose_block_fails_or_is_cancelled_is_not_wanted_any_more() -> None:
    async def scenario() -> None:
        async with new_caller() as here:
            callers = []

            async def calling(fault: Exception | None = None) -> None:
                async with here.call() as caller:
                    callers.append(caller)
                    if fault is not None:
                        raise fault
                    await asyncio.sleep(600)

            task = asyncio.create_task(calling())
            with pytest.raises(ValueError, match="a fault"):
                await calling(ValueError("a fault"))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            assert len(callers) == 2
            for each in callers:
                assert await answer(each, each.partition("/")[2].encode() + b"\n") == UNWANTED

    asyncio.run(scenario())


@pytest.mark.parametrize("line", [b"\n", b"no such call\n", b"\xff\xfe\n", b"cut off"])
def test_what_is_no_call_of_it_is_not_wanted(line: bytes) -> None:
    async def scenario() -> None:
        async with new_caller() as here, here.call() as caller, connected(caller) as (reader, writer):
            writer.write(line)
            writer.write_eof()
            assert (await reader.readexactly(100)).replace(HEARTBEAT, b"") == UNWANTED

    asyncio.run(scenario())


def test_whoever_says_more_than_a_line_is_given_no_more_than_heartbeats() -> None:
    async def scenario() -> None:
        async with new_caller() as here, here.call() as caller:
            async with connected(caller) as (reader, writer):
                writer.write(b"x" * 100_000)
                assert await reader.readexactly(100) == 100 * HEARTBEAT
            async with connected(caller) as (reader, writer):
                writer.write(b"a\n" * 1000)
                assert (await reader.readexactly(100)).replace(HEARTBEAT, b"") == UNWANTED

    asyncio.run(scenario())


def test_heartbeats_go_on_without_a_question_and_end_with_the_process() -> None:
    async def scenario() -> None:
        async with new_caller() as here, here.call() as caller, connected(caller) as (reader, _):
            assert await reader.readexactly(2) == 2 * HEARTBEAT
            await here.close()
            assert await reader.read() == b""

    asyncio.run(scenario())


def test_one_connection_too_many_ends_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "MAX_CONNECTIONS", 1)

    async def scenario() -> None:
        async with new_caller() as here, here.call() as caller, connected(caller) as (reader, _):
            assert await reader.readexactly(1) == HEARTBEAT
            async with connected(caller) as (refused, _):
                assert await refused.read() == b""
            assert await reader.readexactly(2) == 2 * HEARTBEAT
        assert not here._connections

    asyncio.run(scenario())
