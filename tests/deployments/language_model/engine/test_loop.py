"""The engine's thread: frames arrive, a stream that is closed frees its slot, and a broken engine says so."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace

import numpy as np
import pytest

from deployments.language_model.decoder import Decoder
from deployments.language_model.engine.engine import Engine
from deployments.language_model.engine.frame_stream import CHUNK_FRAMES
from deployments.language_model.engine.loop import EngineLoad, EngineLoop
from deployments.language_model.errors import EngineFailed, EngineFull, OutOfMemory
from deployments.language_model.model import MusicgenDecoder
from deployments.messages import CodeFrames, CodeRequest, Heartbeat
from tests.deployments.language_model.random_decoder import collect, request, run


@pytest.fixture
def loop(decoder: Decoder) -> Iterator[EngineLoop]:
    with EngineLoop(lambda: Engine(decoder, num_slots=2, max_waiting=1, max_frames=1500)) as engine_loop:
        yield engine_loop


async def codes_of(loop: EngineLoop, one: CodeRequest) -> np.ndarray:
    return collect([item async for item in loop.generate(one) if isinstance(item, CodeFrames)])[one.request_id]


async def until(items: AsyncGenerator[CodeFrames | Heartbeat, None], kind: type) -> None:
    """Read up to the first of a kind."""
    async for item in items:
        if isinstance(item, kind):
            return


async def leave_after_first_chunk(loop: EngineLoop, one: CodeRequest) -> None:
    async with aclosing(loop.generate(one)) as items:
        await until(items, CodeFrames)


def test_concurrent_streams_get_what_the_bare_engine_makes(loop: EngineLoop, decoder: Decoder) -> None:
    requests = [request(f"r{i}", num_frames=7 * (i + 1), seed=i) for i in range(3)]

    async def everybody() -> list[np.ndarray]:
        return await asyncio.gather(*(codes_of(loop, one) for one in requests))

    bare = run(Engine(decoder, num_slots=3, max_frames=64), *requests)
    for one, codes in zip(requests, asyncio.run(everybody()), strict=True):
        np.testing.assert_array_equal(codes, bare[one.request_id])


def test_chunks_end_at_fixed_frame_numbers_however_a_generation_began(loop: EngineLoop) -> None:
    async def ends(one: CodeRequest) -> list[int]:
        parts = [item async for item in loop.generate(one) if isinstance(item, CodeFrames)]
        return [part.first_frame + part.codes.shape[1] for part in parts]

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


def test_a_cancelled_stream_frees_its_slot_whether_it_ran_or_waited(loop: EngineLoop) -> None:
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


def test_a_broken_engine_fails_its_streams_its_health_check_and_those_who_come_later(
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


def test_whoever_is_told_of_a_broken_engine_hears_of_it_before_its_streams(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, go_on = threading.Event(), threading.Event()

    def on_failure(error: BaseException) -> None:
        assert str(error) == "no more"
        told.set()
        go_on.wait()

    def broken(self: Engine) -> None:
        raise MemoryError("no more")

    async def scenario(loop: EngineLoop) -> None:
        reading = asyncio.create_task(codes_of(loop, request("unlucky")))
        await asyncio.to_thread(told.wait)
        heard_before = reading.done()
        go_on.set()
        with pytest.raises(EngineFailed, match="no more"):
            await reading
        assert not heard_before

    monkeypatch.setattr(Engine, "step", broken)
    asyncio.run(scenario(EngineLoop(lambda: Engine(decoder, num_slots=1), on_failure=on_failure)))


def test_a_heartbeat_comes_first_and_one_with_the_slot(loop: EngineLoop) -> None:
    async def scenario() -> None:
        async with (
            aclosing(loop.generate(request("a", num_frames=1500))) as first,
            aclosing(loop.generate(request("b", num_frames=1500))) as second,
            aclosing(loop.generate(request("c", num_frames=15))) as waiting,
        ):
            for items in (first, second):
                await until(items, CodeFrames)
            assert await anext(waiting) == Heartbeat(running=False)
            await first.aclose()
            told = [item async for item in waiting]
            assert told[: told.index(Heartbeat(running=True))] in ([], [Heartbeat(running=False)])
            assert [item.first_frame for item in told if isinstance(item, CodeFrames)] == [0, 10]

    asyncio.run(scenario())


def test_heartbeats_go_on_while_a_step_takes_its_time_and_before_the_request_is_in(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, step = threading.Event(), Engine.step

    def slow(self: Engine) -> list[CodeFrames]:
        go_on.wait()
        return step(self)

    async def scenario(loop: EngineLoop) -> None:
        async with (
            aclosing(loop.generate(request("slow"))) as running,
            aclosing(loop.generate(request("next"))) as adding,
        ):
            try:
                while await anext(running) != Heartbeat(running=True):
                    pass
                assert [await anext(running) for _ in range(3)] == [Heartbeat(running=True)] * 3
                assert [await anext(adding) for _ in range(3)] == [Heartbeat(running=False)] * 3
            finally:
                go_on.set()
            made = [item async for item in running if isinstance(item, CodeFrames)]
        assert collect(made)["slow"].shape == (4, 20)

    monkeypatch.setattr(Engine, "step", slow)
    with EngineLoop(lambda: Engine(decoder, num_slots=1), heartbeat_s=0.01) as loop:
        asyncio.run(scenario(loop))


def test_who_finds_no_memory_fails_alone(loop: EngineLoop, decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    read_text = MusicgenDecoder.read_text

    def stingy(self: MusicgenDecoder, cache: object, slot: int, text_states: np.ndarray) -> None:
        if len(text_states) == 9:
            raise MemoryError("9 words are too many")
        read_text(self, cache, slot, text_states)  # type: ignore[arg-type]

    good = request("good", num_frames=60)

    async def scenario() -> np.ndarray:
        reading = asyncio.create_task(codes_of(loop, good))
        for i in range(5):
            with pytest.raises(OutOfMemory, match="9 words are too many"):
                await codes_of(loop, request(f"unlucky{i}", num_tokens=9))
            await loop.check_integrity()
        return await reading

    monkeypatch.setattr(MusicgenDecoder, "read_text", stingy)
    codes = asyncio.run(scenario())
    loop.check_health()
    np.testing.assert_array_equal(codes, run(Engine(decoder, num_slots=1), good)["good"])


def test_closing_fails_whoever_still_listens(decoder: Decoder) -> None:
    loop = EngineLoop(lambda: Engine(decoder, num_slots=1, max_frames=1500))

    async def scenario() -> None:
        async with aclosing(loop.generate(request("long", num_frames=1500))) as items:
            await until(items, CodeFrames)
            await asyncio.to_thread(loop.close)
            with pytest.raises(EngineFailed, match="closed"):
                async for _ in items:
                    pass

    asyncio.run(scenario())


def test_a_model_that_cannot_be_built_raises_its_own_error() -> None:
    def build() -> Engine:
        raise ValueError("no such model")

    with pytest.raises(ValueError, match="no such model"):
        EngineLoop(build)
