"""A frame stream by itself: what another thread puts into it, and that nothing of it stays once it is closed."""

from __future__ import annotations

import asyncio
import pickle

import numpy as np
import pytest

from deployments.language_model.engine.frame_stream import FrameStream
from deployments.language_model.errors import EngineFull
from deployments.messages import CodeFrames, Heartbeat

NEVER_S = 3600.0


def frames(first: int, number: int, finished: bool = False) -> CodeFrames:
    return CodeFrames("one", first, np.full((4, number), first, np.int16), finished)


def test_what_came_before_a_failure_is_read_before_it() -> None:
    async def scenario() -> None:
        stream = FrameStream((), NEVER_S, lambda: None)
        await asyncio.to_thread(stream.added, None)
        await asyncio.to_thread(stream.admitted)
        await asyncio.to_thread(stream.frames, frames(0, 10))
        await asyncio.to_thread(stream.fail, EngineFull("no"))
        assert await stream.next() == Heartbeat(running=False)
        assert await stream.next() == Heartbeat(running=True)
        item = await stream.next()
        assert isinstance(item, CodeFrames)
        assert pickle.dumps(item) == pickle.dumps(frames(0, 10))
        with pytest.raises(EngineFull):
            await stream.next()
        stream.close()

    asyncio.run(scenario())


def test_a_heartbeat_that_is_not_read_is_not_sent_again_though_the_loop_gave_a_sign() -> None:
    async def scenario() -> None:
        signs: list[None] = []
        stream = FrameStream((), NEVER_S, lambda: signs.append(None))
        for _ in range(3):
            stream.heartbeat()
        assert len(signs) == 4  # with that of its making
        assert await stream.next() == Heartbeat(running=False)
        assert stream._items.empty()
        stream.close()

    asyncio.run(scenario())


def test_a_closed_stream_gives_no_sign_any_more_and_has_no_timer() -> None:
    async def scenario() -> None:
        signs: list[None] = []
        stream = FrameStream((), NEVER_S, lambda: signs.append(None))
        stream.close()
        stream.added(None)
        stream.admitted()
        stream.frames(frames(0, 10))
        await asyncio.sleep(0)
        assert len(signs) == 1
        assert stream._timer.cancelled()

    asyncio.run(scenario())


def test_a_thread_that_tells_a_loop_that_is_gone_is_not_hurt() -> None:
    async def scenario() -> FrameStream:
        return FrameStream((), NEVER_S, lambda: None)

    stream = asyncio.run(scenario())
    stream.frames(frames(0, 10, finished=True))
    stream.fail(EngineFull("no"))
