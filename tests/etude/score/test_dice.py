from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.score.dice import Dice
from tests.etude.score.properties import tried


def test_draws_are_the_same_on_every_machine_and_python() -> None:
    dice = Dice(7, "melody")
    assert [dice.integer(0, 99) for _ in range(6)] == [57, 55, 52, 18, 61, 89]
    assert dice.normal(1.0) == -0.46104529249994464


@tried
@given(seed=st.integers(0, 2**40), purpose=st.text(max_size=8))
def test_a_seed_and_a_purpose_repeat(seed: int, purpose: str) -> None:
    first, second = Dice(seed, purpose), Dice(seed, purpose)
    assert [first.uniform(0, 1) for _ in range(5)] == [second.uniform(0, 1) for _ in range(5)]


def test_purposes_and_seeds_draw_apart() -> None:
    dice = [Dice(seed, purpose) for seed in range(5) for purpose in ("bass", "drums")]
    assert len({tuple(one.integer(0, 9) for _ in range(12)) for one in dice}) == len(dice)


@tried
@given(seed=st.integers(0, 10**6))
def test_draws_stay_within_what_was_asked(seed: int) -> None:
    dice = Dice(seed, "test")
    assert 3 <= dice.integer(3, 5) <= 5
    assert 0.25 <= dice.uniform(0.25, 0.5) <= 0.5
    assert abs(dice.normal(2.0)) <= 6.0
    assert dice.pick("abc") in "abc"
    assert sorted(dice.shuffled(range(7))) == list(range(7))


def test_weights_are_frequencies() -> None:
    dice = Dice(1, "weights")
    drawn = Counter(dice.weighted({"often": 3.0, "seldom": 1.0, "never": 0.0}) for _ in range(4000))
    assert set(drawn) == {"often", "seldom"}
    assert drawn["often"] / 4000 == pytest.approx(0.75, abs=0.03)


def test_normal_draws_have_their_spread() -> None:
    dice = Dice(2, "normal")
    drawn = [dice.normal(0.01) for _ in range(4000)]
    assert sum(drawn) / 4000 == pytest.approx(0.0, abs=0.001)
    assert (sum(d * d for d in drawn) / 4000) ** 0.5 == pytest.approx(0.01, rel=0.05)
