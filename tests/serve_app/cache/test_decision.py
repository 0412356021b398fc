"""The rules, each of them, against the table in words."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.messages import CacheMode
from serve_app.cache.decision import Decision, decide, is_live, known_seed

GIVEN, POINTED, DRAWN = 7, 8, 9
ASKED = 100
HOUR = 3600.0

# mode, seed, alias, frames kept of the seed that is looked for → outcome, seed, frames taken, what is written
TABLE = {
    ("use", GIVEN, None, 0): ("miss", GIVEN, 0, {"codes"}),
    ("use", GIVEN, None, 99): ("extended", GIVEN, 99, {"codes"}),
    ("use", GIVEN, None, 100): ("hit", GIVEN, 100, set()),
    ("use", GIVEN, None, 101): ("cut", GIVEN, 100, set()),
    ("use", None, None, 0): ("miss", DRAWN, 0, {"codes", "alias"}),
    ("use", None, POINTED, 0): ("miss", POINTED, 0, {"codes"}),
    ("use", None, POINTED, 99): ("extended", POINTED, 99, {"codes"}),
    ("use", None, POINTED, 100): ("hit", POINTED, 100, set()),
    ("use", None, POINTED, 101): ("cut", POINTED, 100, set()),
    ("refresh", GIVEN, None, 0): ("miss", GIVEN, 0, {"codes"}),
    ("refresh", GIVEN, None, 101): ("miss", GIVEN, 0, {"codes"}),
    ("refresh", None, None, 0): ("miss", DRAWN, 0, {"codes", "alias"}),
    ("refresh", None, POINTED, 101): ("miss", DRAWN, 0, {"codes", "alias"}),
    ("off", GIVEN, None, 0): ("miss", GIVEN, 0, set()),
    ("off", GIVEN, None, 101): ("miss", GIVEN, 0, set()),
    ("off", None, None, 0): ("miss", DRAWN, 0, set()),
    ("off", None, POINTED, 101): ("miss", DRAWN, 0, set()),
}


def decided(mode: CacheMode, seed: int | None, alias: int | None, num_cached: int) -> Decision:
    known = known_seed(mode, seed, alias)
    return decide(mode, known, num_frames=ASKED, num_cached=num_cached, draw=lambda: DRAWN)


@pytest.mark.parametrize("case", TABLE, ids=str)
def test_the_rules_are_these(case: tuple[CacheMode, int | None, int | None, int]) -> None:
    decision = decided(*case)
    writes = {name for name in ("codes", "alias") if getattr(decision, f"writes_{name}")}
    assert (decision.outcome, decision.seed, decision.cached_frames, writes) == TABLE[case]


def test_a_given_seed_never_asks_the_alias() -> None:
    for mode, alias, frames in itertools.product(get_args(CacheMode), (None, POINTED), (0, 99, 100, 101)):
        assert decided(mode, GIVEN, alias, frames) == decided(mode, GIVEN, None, frames)


@given(st.integers(1, 2000), st.integers(0, 2000))
def test_what_is_kept_and_what_is_made_are_together_what_was_asked(asked: int, kept: int) -> None:
    decision = decide("use", GIVEN, num_frames=asked, num_cached=kept, draw=lambda: DRAWN)
    assert decision.cached_frames == min(asked, kept)
    assert decision.writes_codes == (kept < asked)


def test_what_is_kept_lives_as_long_as_it_is_said() -> None:
    day = 24 * HOUR
    assert is_live(0, day, day)
    assert not is_live(0, day + 1, day)
    assert is_live(0, 10**9, None)


def test_a_clock_moved_by_an_hour_costs_an_hour_at_most_and_a_mad_one_keeps_nothing_for_ever() -> None:
    day = 24 * HOUR
    assert is_live(HOUR, 0, day)
    assert is_live(0, 23 * HOUR, day)
    assert not is_live(10**9, 0, day)
