from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.score import words
from etude.score.describe import describe, describe_fully, describe_often
from etude.score.instruments import FAMILIES
from etude.score.key import Key
from etude.score.plan import Level, Plan
from etude.score.planner import draw_plan
from tests.etude.score.claims import false_claims
from tests.etude.score.properties import tried

seeds = st.integers(0, 2**40)


@pytest.mark.parametrize("level", ["notes", "solo", "bands"])
@tried
@given(seed=seeds)
def test_a_description_claims_nothing_that_is_not_so(level: Level, seed: int) -> None:
    plan = draw_plan(seed, level)
    for variant in range(30):
        text = describe(plan, variant).text
        assert not false_claims(text, plan), text


def test_the_reader_of_claims_sees_what_is_false() -> None:
    plan = next(p for p in map(draw_plan, range(9999)) if p.families == ("piano", "bass", "drums") and p.has_pulse)
    tempo = plan.tempo_bpm + 1
    wrong_key = Key((plan.key.tonic + 1) % 12, "major").tonic_name
    for lie in (
        f"piano at {tempo} bpm",
        f"piano in {wrong_key} major",
        "piano, no drums",
        "solo piano",
        "flute",
        "a piano quartet",
        "a 7-second piano piece",
        "piano and synth",
    ):
        assert false_claims(lie, plan), lie
    assert not false_claims(f"piano with bass and drums, {plan.tempo_bpm} bpm", plan)


@tried
@given(seed=seeds, variant=st.integers(0, 1000))
def test_what_is_kept_beside_a_description_is_what_it_says(seed: int, variant: int) -> None:
    plan = draw_plan(seed)
    description = describe(plan, variant)
    lowered = description.text.lower()
    assert description.states_tempo == (f"{plan.tempo_bpm} b" in lowered)
    assert description.says_no_drums == ("no drums" in lowered or "without drums" in lowered)
    named = r"\b(?:in|key of) [A-G][b#]?(?!\w)|\b[A-G](?:#|b| sharp| flat)? (?:major|minor)\b"
    assert description.states_key == bool(re.search(named, description.text))
    assert set(description.families) <= set(plan.families) <= set(FAMILIES)
    assert (not description.says_no_drums) or "drums" not in plan.families


@tried
@given(seed=seeds)
def test_who_plays_alone_is_always_named(seed: int) -> None:
    plan = draw_plan(seed, "solo")
    assert all(describe(plan, variant).families == plan.families for variant in range(20))


@tried
@given(seed=seeds, variant=st.integers(0, 1000))
def test_a_variant_repeats(seed: int, variant: int) -> None:
    plan = draw_plan(seed)
    assert describe(plan, variant) == describe(plan, variant)


def everything(level: Level) -> Iterator[tuple[Plan, str]]:
    for seed in range(300):
        plan = draw_plan(seed, level)
        yield from ((plan, description.text) for description in describe_often(plan, 6))


def test_descriptions_are_many_and_of_every_length() -> None:
    texts = [text for _, text in everything("bands")]
    assert len(set(texts)) >= 0.85 * len(texts)
    lengths = [len(text.split()) for text in texts]
    assert lengths.count(1) / len(texts) >= 0.02
    assert sum(length >= 12 for length in lengths) / len(texts) >= 0.15
    assert max(lengths) <= 30


def test_tempo_key_and_no_drums_are_sometimes_said() -> None:
    told = [(plan, describe(plan, 0)) for plan in map(draw_plan, range(1500))]
    assert 0.25 <= sum(d.states_tempo for _, d in told) / len(told) <= 0.45
    assert 0.2 <= sum(d.states_key for _, d in told) / len(told) <= 0.4
    drumless = [d for plan, d in told if not plan.has_drums]
    assert 0.1 <= sum(d.says_no_drums for d in drumless) / len(drumless) <= 0.3


def test_descriptions_of_a_plan_differ() -> None:
    for seed in range(100):
        texts = [description.text.lower().rstrip(".") for description in describe_often(draw_plan(seed), 6)]
        assert len(set(texts)) == len(texts) >= 3


def test_articles_fit_what_follows() -> None:
    cases = {"organ": "an", "piano": "a", "8-second": "an", "10-second": "a", "F# minor": "an", "80s": "an", "Eb": "an"}
    assert {phrase: words.article(phrase) for phrase in cases} == cases


def test_a_blues_is_in_a_key_that_is_neither_major_nor_minor() -> None:
    plan = replace(draw_plan(0), key=Key(10, "blues"))
    assert words.key_words(plan) == ("Bb", "B flat")
    assert words.key_words(replace(plan, key=Key(6, "minor"))) == ("F# minor", "F sharp minor")


def test_full_descriptions_say_more_than_others_the_fullest_first() -> None:
    said, usual = [], []
    for seed in range(60):
        plan = draw_plan(seed)
        full = describe_fully(plan, 12)
        assert len({description.text for description in full}) == len(full)
        most = [description.facts for description in full[:8]]
        assert most == sorted(most, reverse=True)
        said += [description.facts for description in full]
        usual += [description.facts for description in describe_often(plan, 12)]
    assert sum(said) > 1.15 * sum(usual)
