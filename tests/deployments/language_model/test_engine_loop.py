"""The engine's thread: frames arrive, a listener that leaves frees its slot, and a broken engine says so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace

import numpy as np
import pytest

from deployments.language_model.decoder import Decoder
from deployments.language_model.engine import Engine
from deployments.language_model.engine_loop import CHUNK_FRAMES, EngineFailed, EngineLoad, EngineLoop
from deployments.language_model.scheduler import EngineFull
from deployments.messages import CodeRequest
from tests.deployments.language_model.random_decoder import collect, request, run


@pytest.fixture
def loop(decoder: Decoder) -> Iterator[EngineLoop]:
    with EngineLoop(lambda: Engine(decoder, num_slots=2, max_waiting=1, max_frames=1500)) as engine_loop:
        yield engine_loop


async def codes_of(loop: EngineLoop, one: CodeRequest) -> np.ndarray:
    return collect([frames async for frames in loop.generate(one)])[one.request_id]


async def leave_after_first_chunk(loop: EngineLoop, one: CodeRequest) -> None:
    async with aclosing(loop.generate(one)) as frames:
        await anext(frames)


def test_concurrent_listeners_get_what_the_bare_engine_makes(loop: EngineLoop, decoder: Decoder) -> None:
    requests = [request(f"r{i}", num_frames=7 * (i + 1), seed=i) for i in range(3)]

    async def everybody() -> list[np.ndarray]:
        return await asyncio.gather(*(codes_of(loop, one) for one in requests))

    bare = run(Engine(decoder, num_slots=3, max_frames=64), *requests)
    for one, codes in zip(requests, asyncio.run(everybody()), strict=True):
        np.testing.assert_array_equal(codes, bare[one.request_id])


def test_chunks_end_at_fixed_frame_numbers_however_a_generation_began(loop: EngineLoop) -> None:
    async def ends(one: CodeRequest) -> list[int]:
        return [part.first_frame + part.codes.shape[1] async for part in loop.generate(one)]

    assert asyncio.run(ends(request("new", num_frames=23))) == [CHUNK_FRAMES, 2 * CHUNK_FRAMES, 23]
    prompt = np.zeros((4, 3), np.int16)
    assert asyncio.run(ends(request("resumed", num_frames=23, prompt_codes=prompt))) == [10, 20, 23]
    named = replace(request("named", num_frames=23), chunk_ends=(4, 15, 99))
    assert asyncio.run(ends(named)) == [4, 15, 23]


def test_leaving_early_frees_the_slot_and_the_next_is_served(loop: EngineLoop) -> None:
    async def scenario() -> None:
        await asyncio.gather(*(leave_after_first_chunk(loop, request(f"left{i}", num_frames=1500)) for i in range(3)))
        await loop.check_integrity()
        assert loop.load == EngineLoad(slots_used=0, slots_free=2, waiting=0)
        assert (await codes_of(loop, request("next"))).shape == (4, 20)

    asyncio.run(scenario())


def test_a_cancelled_listener_frees_its_slot_whether_it_ran_or_waited(loop: EngineLoop) -> None:
    async def scenario() -> None:
        tasks = [asyncio.create_task(codes_of(loop, request(f"r{i}", num_frames=1500))) for i in range(3)]
        while loop.load.slots_used < 2:
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await loop.check_integrity()
        assert loop.load == EngineLoad(slots_used=0, slots_free=2, waiting=0)

    asyncio.run(scenario())


def test_more_than_may_wait_are_refused_at_once(loop: EngineLoop) -> None:
    async def scenario() -> None:
        streams = [loop.generate(request(f"r{i}", num_frames=1500)) for i in range(3)]
        tasks = [asyncio.create_task(anext(stream)) for stream in streams]
        while loop.load != EngineLoad(slots_used=2, slots_free=0, waiting=1):
            await asyncio.sleep(0)
        with pytest.raises(EngineFull, match="2 of 2 slots are taken, 1 requests wait, and no more than 1 may"):
            await codes_of(loop, request("one too many"))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for stream in streams:
            await stream.aclose()

    asyncio.run(scenario())


def test_a_refused_request_leaves_the_engine_running(loop: EngineLoop) -> None:
    async def scenario() -> None:
        with pytest.raises(ValueError, match="1 to 1500"):
            await codes_of(loop, request("too long", num_frames=1501))
        assert (await codes_of(loop, request("right"))).shape == (4, 20)

    asyncio.run(scenario())
    loop.check_health()


def test_a_broken_engine_fails_its_listeners_its_health_check_and_those_who_come_later(
    loop: EngineLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Engine) -> None:
        raise MemoryError("no more")

    async def scenario() -> None:
        monkeypatch.setattr(Engine, "step", broken)
        with pytest.raises(EngineFailed, match="no more"):
            await codes_of(loop, request("unlucky"))
        with pytest.raises(EngineFailed, match="no more"):
            await codes_of(loop, request("late"))

    asyncio.run(scenario())
    with pytest.raises(EngineFailed, match="no more"):
        loop.check_health()


def test_closing_fails_whoever_still_listens(decoder: Decoder) -> None:
    loop = EngineLoop(lambda: Engine(decoder, num_slots=1, max_frames=1500))

    async def scenario() -> None:
        async with aclosing(loop.generate(request("long", num_frames=1500))) as frames:
            await anext(frames)
            await asyncio.to_thread(loop.close)
            with pytest.raises(EngineFailed, match="closed"):
                async for _ in frames:
                    pass

    asyncio.run(scenario())


def test_a_model_that_cannot_be_built_raises_its_own_error() -> None:
    def build() -> Engine:
        raise ValueError("no such model")

    with pytest.raises(ValueError, match="no such model"):
        EngineLoop(build)
