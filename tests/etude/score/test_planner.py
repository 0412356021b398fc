from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.score.genres import GENRES
from etude.score.instruments import FAMILIES
from etude.score.moods import MOODS
from etude.score.plan import EXERCISE, Level
from etude.score.planner import FASTEST_BPM, SLOWEST_BPM, draw_plan
from tests.etude.score.properties import tried

seeds = st.integers(0, 2**40)


@tried
@given(seed=seeds)
def test_a_plan_makes_sense(seed: int) -> None:
    plan = draw_plan(seed)
    assert SLOWEST_BPM <= plan.tempo_bpm <= FASTEST_BPM
    if plan.style is None:
        return
    slowest, fastest = plan.style.tempo_bpm
    assert slowest <= plan.tempo_bpm <= fastest
    assert plan.beats_per_bar in plan.style.metres
    assert plan.key.mode in plan.style.modes
    mood = MOODS[plan.mood]
    assert mood.slowest <= plan.tempo_bpm <= mood.fastest
    assert plan.key.mode in mood.modes
    assert plan.density in mood.densities
    assert plan.mood in plan.style.moods


@tried
@given(seed=seeds)
def test_an_ensemble_has_as_many_instruments_as_it_says_and_no_family_twice(seed: int) -> None:
    plan = draw_plan(seed)
    at_least = {"solo": 1, "duo": 2, "trio": 3, "band": 4}[plan.ensemble]
    assert len(plan.instruments) == at_least or (plan.ensemble == "band" and len(plan.instruments) == 5)
    assert len(plan.families) == len(plan.instruments)


@tried
@given(seed=seeds)
def test_a_seed_has_one_plan(seed: int) -> None:
    assert draw_plan(seed) == draw_plan(seed)
    assert draw_plan(seed, "solo", 10.0) == draw_plan(seed, "solo", 10.0)


@pytest.mark.parametrize(
    ("level", "ensembles"),
    [("notes", {"solo"}), ("solo", {"solo"}), ("bands", {"duo", "trio", "band"})],
)
def test_a_level_says_how_much_plays_at_once(level: Level, ensembles: set[str]) -> None:
    plans = [draw_plan(seed, level) for seed in range(200)]
    assert {plan.ensemble for plan in plans} == ensembles
    assert all((plan.genre == EXERCISE) == (level == "notes") for plan in plans)


def test_everything_comes_up() -> None:
    plans = [draw_plan(seed) for seed in range(2000)]
    assert {plan.genre for plan in plans} == {*GENRES, EXERCISE}
    assert {plan.mood for plan in plans} == set(MOODS)
    assert {plan.key.tonic for plan in plans} == set(range(12))
    assert {plan.beats_per_bar for plan in plans} == {2, 3, 4}
    assert {plan.opening for plan in plans} == {"at once", "fade in", "building"}
    assert {plan.ending for plan in plans} == {"cut", "fade out", "cadence"}
    assert {plan.ensemble for plan in plans} == {"solo", "duo", "trio", "band"}


def test_every_family_plays_alone_as_often_as_the_others() -> None:
    alone = Counter(draw_plan(seed, "solo").families for seed in range(2800))
    assert set(alone) == {(family,) for family in FAMILIES}
    assert all(120 <= count <= 280 for count in alone.values())


def test_every_genre_has_about_its_share_of_the_groups() -> None:
    genres = Counter(draw_plan(seed, "bands").genre for seed in range(2800))
    assert all(count >= 80 for count in genres.values())
    assert set(genres) == set(GENRES)


def test_a_length_that_is_asked_for_is_kept() -> None:
    assert {draw_plan(seed, "all", 7.5).length_s for seed in range(50)} == {7.5}


@tried
@given(seed=seeds)
def test_attributes_are_json(seed: int) -> None:
    attributes = draw_plan(seed).attributes()
    assert json.loads(json.dumps(attributes)) == attributes
