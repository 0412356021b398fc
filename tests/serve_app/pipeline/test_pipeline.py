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

from deployments.messages import CodeFrames, EngineIdentity, GenerationStart
from serve_app.errors import WorkerLostTwice
from serve_app.pipeline.pipeline import EngineGone
from serve_app.stores.store import NothingKept
from tests.serve_app.cache.cached import InMemory
from tests.serve_app.cache.test_cache_sequences import FIRST_DRAWN, TTL_S, Rules
from tests.serve_app.pipeline.replicas import MODEL, Heard, listen, replicas, request
from tests.serve_app.pipeline.scripted import Dies, ScriptedStages, codes_of

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
                heard = await listen(both.pipelines[number % len(both.pipelines)], request(seed, frames, mode, prompt))
                await both.settled()
                assert (heard.outcome, heard.seed, both.num_made - before) == rules.ask(prompt, mode, seed, frames)
                heard.check(frames)

    asyncio.run(scenario())


@pytest.mark.parametrize("seed", [7, None])
@pytest.mark.parametrize("kept", [True, False])
def test_fifty_who_ask_the_same_at_once_of_two_replicas_get_one_generation(
    seed: int | None, kept: bool, tmp_path: Path
) -> None:
    """With a store, and without: joining does not depend on what is kept, but among replicas it does."""

    async def scenario() -> None:
        stages = ScriptedStages(step_s=0.001)
        number = 2 if kept else 1
        async with replicas(tmp_path, InMemory() if kept else NothingKept(), stages, number) as some:
            pipelines = itertools.cycle(some.pipelines)
            heard = await asyncio.gather(*(listen(next(pipelines), request(seed, 200)) for _ in range(50)))
        for each in heard:
            each.check(200)
        assert len({each.seed for each in heard}) == 1
        assert set(stages.made.values()) == {1}
        assert len(stages.made) == 200
        # Who waits behind one that waits for the other replica finds the codes kept when it is their turn.
        outcomes = [each.outcome for each in heard]
        assert outcomes.count("miss") == 1
        assert set(outcomes) <= {"miss", "joined", "hit"}

    asyncio.run(scenario())


def test_a_listener_who_wants_more_joins_and_one_who_wants_less_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        stages = ScriptedStages(step_s=0.001)
        async with replicas(tmp_path, InMemory(), stages, 1) as one:
            (pipeline,) = one.pipelines
            lengths = (100, 30, 300)
            heard = await asyncio.gather(*(listen(pipeline, request(5, length)) for length in lengths))
            for length, each in zip(lengths, heard, strict=True):
                each.check(length)
        assert set(stages.made.values()) == {1}
        assert [each.outcome for each in heard] == ["miss", "joined", "joined"]

    asyncio.run(scenario())


def test_off_joins_nobody_and_keeps_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        store, stages = InMemory(), ScriptedStages(step_s=0.001)
        async with replicas(tmp_path, store, stages, 1) as one:
            (pipeline,) = one.pipelines
            heard = await asyncio.gather(*(listen(pipeline, request(5, 100, "off")) for _ in range(2)))
            assert [each.outcome for each in heard] == ["miss", "miss"]
        assert set(stages.made.values()) == {2}
        assert not store.entries

    asyncio.run(scenario())


async def heard_some(pipeline: Any, asked: Any, num_frames: int) -> Heard:
    """Hangs up after so many frames and more."""
    heard = Heard()
    async with aclosing(pipeline.listen(asked)) as items:
        async for item in items:
            if isinstance(item, GenerationStart):
                heard.start = item
            if isinstance(item, CodeFrames):
                heard.codes = np.concatenate([heard.codes, item.codes], axis=1)
            if heard.codes.shape[1] >= num_frames:
                break
    return heard


def test_when_the_first_hangs_up_those_who_joined_get_the_whole(tmp_path: Path) -> None:
    async def scenario() -> None:
        stages = ScriptedStages(step_s=0.001)
        async with replicas(tmp_path, InMemory(), stages, 1) as one:
            (pipeline,) = one.pipelines
            leader = asyncio.create_task(heard_some(pipeline, request(5, 300), 10))
            others = [asyncio.create_task(listen(pipeline, request(5, 300))) for _ in range(3)]
            await leader
            for each in await asyncio.gather(*others):
                each.check(300)
        assert set(stages.made.values()) == {1}

    asyncio.run(scenario())


def test_what_was_made_before_all_hung_up_is_kept_and_gone_on_from(tmp_path: Path) -> None:
    async def scenario() -> None:
        stages = ScriptedStages(step_s=0.001)
        async with replicas(tmp_path, InMemory(), stages) as both:
            await heard_some(both.pipelines[0], request(5, 300), 100)
            await both.settled()
            assert 100 <= both.num_made < 300
            heard = await listen(both.pipelines[1], request(5, 300))
            heard.check(300)
            assert heard.outcome == "extended"
        assert set(stages.made.values()) == {1}

    asyncio.run(scenario())


def test_a_refresh_that_is_broken_off_does_not_take_the_place_of_what_is_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        stages = ScriptedStages(step_s=0.001)
        async with replicas(tmp_path, InMemory(), stages, 1) as one:
            (pipeline,) = one.pipelines
            await listen(pipeline, request(5, 300))
            await heard_some(pipeline, request(5, 300, "refresh"), 20)
            await one.settled()
            assert (await listen(pipeline, request(5, 300))).outcome == "hit"

    asyncio.run(scenario())


def test_a_request_that_kills_is_not_tried_again_for_whoever_asks(tmp_path: Path) -> None:
    async def scenario() -> None:
        stages = ScriptedStages([Dies(50)] * 10)
        async with replicas(tmp_path, InMemory(), stages, 1) as one:
            (pipeline,) = one.pipelines
            for _ in range(3):
                with pytest.raises(WorkerLostTwice):
                    await listen(pipeline, request(5, 300))
        assert len(stages.requests) == 2

    asyncio.run(scenario())


def test_engines_of_another_kind_begin_but_never_go_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        stages = ScriptedStages()
        async with replicas(tmp_path, InMemory(), stages, 1) as one:
            (pipeline,) = one.pipelines
            first = await listen(pipeline, request(3, 100))
            stages.engine = OTHER
            second = await listen(pipeline, request(3, 200))
            assert first.start is not None
            assert second.start is not None
            assert second.start.identity == OTHER
            assert (second.outcome, second.start.key != first.start.key) == ("miss", True)
            assert await pipeline.identity(MODEL, "realtime") == OTHER
            stages.engine = replace(OTHER, numerics="a third")
            begun = await heard_some(pipeline, request(4, 300), 20)
            assert begun.start is not None
            stages.engine = OTHER
            stages.fates = [Dies(200)]
            with pytest.raises(EngineGone):
                await one_that_changes(pipeline, stages)

    asyncio.run(scenario())


async def one_that_changes(pipeline: Any, stages: ScriptedStages) -> None:
    """The engines become others while a clip is under way, and its own is lost."""
    async with aclosing(pipeline.listen(request(6, 300))) as items:
        async for item in items:
            if isinstance(item, CodeFrames):
                stages.engine = replace(OTHER, numerics="a fourth")


def test_codes_of_one_generation_are_what_a_plain_run_makes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with replicas(tmp_path, InMemory(), ScriptedStages(), 1) as one:
            heard = await listen(one.pipelines[0], request(11, 123))
            assert np.array_equal(heard.codes, codes_of(11, 123))
            assert heard.start is not None
            assert len(heard.start.key) == 64

    asyncio.run(scenario())
