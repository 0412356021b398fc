"""How many users there are, and when."""

from __future__ import annotations

import itertools
import random
import statistics

import pytest

from loadtests.load.shapes import Pace, shape


def users_at(kind: str, levels: list[int], *moments_s: float) -> list[int | None]:
    phases = [shape(kind, levels, 10).at(each) for each in moments_s]
    return [None if phase is None else phase.users for phase in phases]


def test_steps_hold_each_level_in_turn_and_then_it_is_over() -> None:
    assert users_at("steps", [5, 10, 5], 0, 9.9, 10, 19.9, 20, 29.9, 30) == [5, 5, 10, 10, 5, 5, None]
    assert shape("steps", [5, 10, 5], 10).duration_s == 30


def test_a_spike_comes_back_to_where_it_began() -> None:
    assert users_at("spike", [5, 50], 0, 10, 20, 30) == [5, 50, 5, None]
    assert shape("spike", [5, 50], 10).max_users == 50


def test_a_soak_holds_one_level() -> None:
    assert users_at("soak", [7], 0, 9, 10) == [7, 7, None]


@pytest.mark.parametrize(
    ("kind", "levels", "right"),
    [
        ("steps", [], "from 1"),
        ("steps", [10, 0], "from 1"),
        ("spike", [10], "two levels"),
        ("spike", [10, 5], "two levels"),
        ("soak", [1, 2], "one level"),
    ],
)
def test_levels_that_do_not_fit_are_refused_with_those_that_would(kind: str, levels: list[int], right: str) -> None:
    with pytest.raises(ValueError, match=right):
        shape(kind, levels, 10)


def test_who_is_answered_at_once_asks_at_poisson_s_moments() -> None:
    pace, now_s, moments_s = Pace(random.Random(0), 5.0, 0.0), 0.0, list[float]()
    for _ in range(5000):
        now_s += pace.wait_s(now_s)
        moments_s.append(now_s)
    waits_s = [after_s - before_s for before_s, after_s in itertools.pairwise(moments_s)]
    assert statistics.mean(waits_s) == pytest.approx(5, rel=0.05)
    assert statistics.stdev(waits_s) == pytest.approx(5, rel=0.05)


def test_the_moments_do_not_move_with_how_long_an_answer_takes() -> None:
    slow, quick = (Pace(random.Random(3), 5.0, 0.0) for _ in range(2))
    first_s = quick.wait_s(0.0)
    assert slow.wait_s(0.0) == first_s
    wait_s = quick.wait_s(first_s)
    assert slow.wait_s(first_s + wait_s / 2) == pytest.approx(wait_s / 2)


def test_who_is_late_asks_at_once_and_does_not_catch_up() -> None:
    pace = Pace(random.Random(0), 5.0, 0.0)
    assert pace.wait_s(1000.0) == 0
    assert pace.wait_s(1000.0) > 0


def test_who_is_put_off_asks_later() -> None:
    pace = Pace(random.Random(0), 5.0, 0.0)
    pace.put_off(60.0)
    assert pace.wait_s(1.0) >= 59
