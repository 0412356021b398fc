"""A listener by itself: what it is told in another thread, and that nothing of it stays once it is closed."""

from __future__ import annotations

import asyncio
import pickle

import numpy as np
import pytest

from deployments.language_model.engine.frame_stream import Listener
from deployments.language_model.errors import EngineFull
from deployments.messages import Beat, CodeFrames

NEVER_S = 3600.0


def frames(first: int, number: int, finished: bool = False) -> CodeFrames:
    return CodeFrames("one", first, np.full((4, number), first, np.int16), finished)


def test_what_came_before_a_failure_is_read_before_it() -> None:
    async def scenario() -> None:
        listener = Listener((), NEVER_S, lambda: None)
        await asyncio.to_thread(listener.added, None)
        await asyncio.to_thread(listener.admitted)
        await asyncio.to_thread(listener.frames, frames(0, 10))
        await asyncio.to_thread(listener.fail, EngineFull("no"))
        assert await listener.next() == Beat(running=False)
        assert await listener.next() == Beat(running=True)
        item = await listener.next()
        assert isinstance(item, CodeFrames)
        assert pickle.dumps(item) == pickle.dumps(frames(0, 10))
        with pytest.raises(EngineFull):
            await listener.next()
        listener.close()

    asyncio.run(scenario())


def test_a_beat_that_is_not_read_is_not_sent_again_though_the_loop_gave_a_sign() -> None:
    async def scenario() -> None:
        signs: list[None] = []
        listener = Listener((), NEVER_S, lambda: signs.append(None))
        for _ in range(3):
            listener.beat()
        assert len(signs) == 4  # with that of its making
        assert await listener.next() == Beat(running=False)
        assert listener._items.empty()
        listener.close()

    asyncio.run(scenario())


def test_a_closed_listener_gives_no_sign_any_more_and_has_no_timer() -> None:
    async def scenario() -> None:
        signs: list[None] = []
        listener = Listener((), NEVER_S, lambda: signs.append(None))
        listener.close()
        listener.added(None)
        listener.admitted()
        listener.frames(frames(0, 10))
        await asyncio.sleep(0)
        assert len(signs) == 1
        assert listener._timer.cancelled()

    asyncio.run(scenario())


def test_a_thread_that_tells_a_loop_that_is_gone_is_not_hurt() -> None:
    async def scenario() -> Listener:
        return Listener((), NEVER_S, lambda: None)

    listener = asyncio.run(scenario())
    listener.frames(frames(0, 10, finished=True))
    listener.fail(EngineFull("no"))
