"""The breaker: open after three failures in a row, one trial at a time, ever longer between two."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.stores.circuit_breaker import CircuitBreaker
from tests.serve_app.cache.cached import Clock


def opened(clock: Clock, jitter: float = 0.0) -> CircuitBreaker:
    breaker = CircuitBreaker(clock, lambda: jitter)
    for _ in range(3):
        assert not breaker.is_open
        breaker.failed()
    assert breaker.is_open
    return breaker


def test_only_failures_in_a_row_count() -> None:
    breaker = CircuitBreaker(Clock())
    for _ in range(10):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
    assert not breaker.is_open


def test_trials_come_one_at_a_time_after_waits_that_double_to_half_a_minute() -> None:
    clock = Clock()
    breaker = opened(clock)
    for wait_s in (1, 2, 4, 8, 16, 30, 30):
        clock.now_s += wait_s - 0.01
        assert not breaker.take_trial()
        clock.now_s += 0.02
        assert breaker.take_trial()
        assert not breaker.take_trial()
        breaker.failed()
    clock.now_s += 30
    assert breaker.take_trial()
    breaker.succeeded()
    assert not breaker.is_open
    # The next time begins with a second again.
    for _ in range(3):
        breaker.failed()
    clock.now_s += 1
    assert breaker.take_trial()


def test_jitter_shortens_a_wait_by_half_at_most() -> None:
    clock = Clock()
    breaker = opened(clock, jitter=0.999)
    clock.now_s += 0.49
    assert not breaker.take_trial()
    clock.now_s += 0.02
    assert breaker.take_trial()


def test_a_trial_without_a_result_is_made_again() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now_s += 1
    assert breaker.take_trial()
    breaker.drop_trial()
    assert breaker.take_trial()


def test_calls_from_before_do_not_put_a_trial_off() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now_s += 0.5
    breaker.failed()
    clock.now_s += 0.5
    assert breaker.take_trial()


@given(st.lists(st.sampled_from(["call fails", "call succeeds", "a minute passes", "trial fails"])))
def test_it_never_stays_shut_to_a_store_that_is_back(happened: list[str]) -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock)
    for what in happened:
        if what == "a minute passes":
            clock.now_s += 60
        elif what == "call succeeds":
            breaker.succeeded()
        elif what == "call fails" or breaker.take_trial():
            breaker.failed()
    clock.now_s += 30
    if breaker.is_open:
        assert breaker.take_trial()
        breaker.succeeded()
    assert not breaker.is_open


@pytest.mark.parametrize("result", ["succeeded", "failed"])
def test_a_trial_that_ended_gives_its_place_free(result: str) -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now_s += 1
    assert breaker.take_trial()
    getattr(breaker, result)()
    breaker.succeeded()
    for _ in range(3):
        breaker.failed()
    clock.now_s += 30
    assert breaker.take_trial()
