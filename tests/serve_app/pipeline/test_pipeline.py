"""Nothing is made twice and no work is lost: requests to replicas that share a cache and leases."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.messages import CodeFrames, EngineIdentity, GenerationStart, MusicRequest
from serve_app.errors import WorkerLostTwice
from serve_app.pipeline.pipeline import EngineGone
from serve_app.stores.store import NullStore
from tests.serve_app.cache.cached import InMemory
from tests.serve_app.cache.test_cache_sequences import FIRST_DRAWN, TTL_S, Rules
from tests.serve_app.pipeline.replicas import MODEL, Received, receive, replicas, request
from tests.serve_app.pipeline.scripted_stages import Crashes, ScriptedStages, codes_of

PROMPTS = ("a", "b")
OTHER = EngineIdentity("f" * 64, "another instruction set", 2048)

prompts = st.sampled_from(PROMPTS)
seeds = st.sampled_from([1, 2, FIRST_DRAWN])
asks = st.tuples(
    st.just("ask"),
    prompts,
    st.sampled_from(["use", "use", "use", "refresh", "off"]),
    st.none() | seeds,
    st.integers(1, 6),
    st.sampled_from([0, 1]),
)
waits = st.tuples(st.just("wait"), st.sampled_from([1.0, 60.0, TTL_S, TTL_S + 1]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(doings=st.lists(st.one_of(asks, asks, asks, waits), max_size=20), remembers=st.booleans())
def test_every_sequence_of_requests_is_answered_as_the_rules_say(
    doings: list[tuple[Any, ...]], remembers: bool, tmp_path: Path
) -> None:
    """To either of two replicas; hit, cut, extended and fresh codes of one generation are the same.

    With a memory of its own a replica may call a hit what has become longer elsewhere, so then there is one.
    """
    rules = Rules()

    async def scenario() -> None:
        draw = itertools.count(FIRST_DRAWN).__next__
        stages = ScriptedStages(step_s=0)
        memory_bytes = 2**20 if remembers else 0
        options = {"draw": draw, "ttl_s": TTL_S, "memory_bytes": memory_bytes}
        async with replicas(tmp_path, InMemory(), stages, 1 if remembers else 2, **options) as both:
            rules.now_s = both.clock.now_s
            for name, *arguments in doings:
                if name == "wait":
                    both.clock.now_s += arguments[0]
                    rules.now_s += arguments[0]
                    continue
                prompt, mode, seed, frames, number = arguments
                before = both.num_made
                received = await receive(
                    both.pipelines[number % len(both.pipelines)], request(seed, frames, mode, prompt)
                )
                await both.settled()
                assert (received.outcome, received.seed, both.num_made - before) == rules.ask(
                    prompt, mode, seed, frames
                )
                received.check(frames)

    asyncio.run(scenario())


@pytest.mark.parametrize("seed", [7, None])
@pytest.mark.parametrize("cached", [True, False])
def test_fifty_equal_requests_at_once_to_two_replicas_get_one_generation(
    seed: int | None, cached: bool, tmp_path: Path
) -> None:
    """With a store, and without: joining does not depend on the cache, but among replicas it does."""

    async def scenario() -> None:
        stages = ScriptedStages(step_s=0.001)
        number = 2 if cached else 1
        async with replicas(tmp_path, InMemory() if cached else NullStore(), stages, number) as some:
            pipelines = itertools.cycle(some.pipelines)
            received = await asyncio.gather(*(receive(next(pipelines), request(seed, 200)) for _ in range(50)))
        for each in received:
            each.check(200)
        assert len({each.seed for each in received}) == 1
        assert set(stages.made.values()) == {1}
        assert len(stages.made) == 200
        # A request behind one that waits for the other replica finds the codes cached when its turn comes.
        outcomes = [each.outcome for each in received]
        assert outcomes.count("miss") == 1
        assert set(outcomes) <= {"miss", "joined", "hit"}

    asyncio.run(scenario())


def test_requests_for_more_frames_and_for_fewer_join(tmp_path: Path) -> None:
    async def scenario() -> None:
        stages = ScriptedStages(step_s=0.001)
        async with replicas(tmp_path, InMemory(), stages, 1) as one:
            (pipeline,) = one.pipelines
            lengths = (100, 30, 300)
            received = await asyncio.gather(*(receive(pipeline, request(5, length)) for length in lengths))
            for length, each in zip(lengths, received, strict=True):
                each.check(length)
        assert set(stages.made.values()) == {1}
        assert [each.outcome for each in received] == ["miss", "joined", "joined"]

    asyncio.run(scenario())


def test_off_joins_nothing_and_caches_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        store, stages = InMemory(), ScriptedStages(step_s=0.001)
        async with replicas(tmp_path, store, stages, 1) as one:
            (pipeline,) = one.pipelines
            received = await asyncio.gather(*(receive(pipeline, request(5, 100, "off")) for _ in range(2)))
            assert [each.outcome for each in received] == ["miss", "miss"]
        assert set(stages.made.values()) == {2}
        assert not store.entries

    asyncio.run(scenario())


async def receive_some(pipeline: Any, request: MusicRequest, num_frames: int) -> Received:
    """Disconnects after so many frames or more."""
    received = Received()
    async with aclosing(pipeline.stream(request)) as items:
        async for item in items:
            if isinstance(item, GenerationStart):
                received.start = item
            if isinstance(item, CodeFrames):
                received.codes = np.concatenate([received.codes, item.codes], axis=1)
            if received.codes.shape[1] >= num_frames:
                break
    return received


def test_when_the_first_disconnects_those_who_joined_get_the_whole(tmp_path: Path) -> None:
    async def scenario() -> None:
        stages = ScriptedStages(step_s=0.001)
        async with replicas(tmp_path, InMemory(), stages, 1) as one:
            (pipeline,) = one.pipelines
            leader = asyncio.create_task(receive_some(pipeline, request(5, 300), 10))
            others = [asyncio.create_task(receive(pipeline, request(5, 300))) for _ in range(3)]
            await leader
            for each in await asyncio.gather(*others):
                each.check(300)
        assert set(stages.made.values()) == {1}

    asyncio.run(scenario())


def test_what_was_made_before_all_disconnected_is_cached_and_resumed(tmp_path: Path) -> None:
    async def scenario() -> None:
        stages = ScriptedStages(step_s=0.001)
        async with replicas(tmp_path, InMemory(), stages) as both:
            await receive_some(both.pipelines[0], request(5, 300), 100)
            await both.settled()
            assert 100 <= both.num_made < 300
            received = await receive(both.pipelines[1], request(5, 300))
            received.check(300)
            assert received.outcome == "extended"
        assert set(stages.made.values()) == {1}

    asyncio.run(scenario())


def test_an_aborted_refresh_does_not_replace_the_cached_codes(tmp_path: Path) -> None:
    async def scenario() -> None:
        stages = ScriptedStages(step_s=0.001)
        async with replicas(tmp_path, InMemory(), stages, 1) as one:
            (pipeline,) = one.pipelines
            await receive(pipeline, request(5, 300))
            await receive_some(pipeline, request(5, 300, "refresh"), 20)
            await one.settled()
            assert (await receive(pipeline, request(5, 300))).outcome == "hit"

    asyncio.run(scenario())


def test_a_poison_request_is_refused_whoever_sends_it_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        stages = ScriptedStages([Crashes(50)] * 10)
        async with replicas(tmp_path, InMemory(), stages, 1) as one:
            (pipeline,) = one.pipelines
            for _ in range(3):
                with pytest.raises(WorkerLostTwice):
                    await receive(pipeline, request(5, 300))
        assert len(stages.requests) == 2

    asyncio.run(scenario())


def test_engines_of_another_kind_begin_generations_but_never_resume_them(tmp_path: Path) -> None:
    async def scenario() -> None:
        stages = ScriptedStages()
        async with replicas(tmp_path, InMemory(), stages, 1) as one:
            (pipeline,) = one.pipelines
            first = await receive(pipeline, request(3, 100))
            stages.engine = OTHER
            second = await receive(pipeline, request(3, 200))
            assert first.start is not None
            assert second.start is not None
            assert second.start.identity == OTHER
            assert (second.outcome, second.start.key != first.start.key) == ("miss", True)
            assert await pipeline.identity(MODEL, "realtime") == OTHER
            stages.engine = replace(OTHER, numerics="a third")
            begun = await receive_some(pipeline, request(4, 300), 20)
            assert begun.start is not None
            stages.engine = OTHER
            stages.behaviours = [Crashes(200)]
            with pytest.raises(EngineGone):
                await one_that_changes(pipeline, stages)

    asyncio.run(scenario())


async def one_that_changes(pipeline: Any, stages: ScriptedStages) -> None:
    """The engines become others while a clip is under way, and its own is lost."""
    async with aclosing(pipeline.stream(request(6, 300))) as items:
        async for item in items:
            if isinstance(item, CodeFrames):
                stages.engine = replace(OTHER, numerics="a fourth")


def test_codes_of_one_generation_are_what_a_plain_run_makes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with replicas(tmp_path, InMemory(), ScriptedStages(), 1) as one:
            received = await receive(one.pipelines[0], request(11, 123))
            assert np.array_equal(received.codes, codes_of(11, 123))
            assert received.start is not None
            assert len(received.start.key) == 64

    asyncio.run(scenario())
