"""How many users there are, and when."""

from __future__ import annotations

import pytest

from loadtests.load.shapes import shape


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
