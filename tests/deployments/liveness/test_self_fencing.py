"""The pulse: when a replica must take its generations for lost, and that nobody sees a moment in between."""

from __future__ import annotations

import time

from deployments.liveness.stalls import BEAT_S, LEASE_S, Pulse, uptime_s
from tests.deployments.language_model.engine.clock import Clock


def never() -> None:
    raise AssertionError("this was no lapse")


def test_it_lapses_once_the_lease_is_over_and_not_before() -> None:
    clock = Clock()
    pulse = Pulse(clock=clock)
    clock.advance(LEASE_S)
    assert not pulse.lapsed
    clock.advance(0.001)
    assert pulse.lapsed


def test_beats_keep_it_alive_however_long() -> None:
    clock = Clock()
    pulse = Pulse(clock=clock)
    for _ in range(100):
        clock.advance(LEASE_S - BEAT_S)
        pulse.beat(never)
        assert not pulse.lapsed


def test_the_beat_after_a_lapse_gives_up_while_it_is_still_seen() -> None:
    clock, seen = Clock(), []
    pulse = Pulse(clock=clock)
    clock.advance(LEASE_S + 1)
    pulse.beat(lambda: seen.append(pulse.lapsed))
    assert seen == [True]
    assert not pulse.lapsed
    pulse.beat(never)


def test_who_is_stopped_between_giving_up_and_the_beat_wakes_with_a_pulse_that_has_lapsed() -> None:
    clock = Clock()
    pulse = Pulse(clock=clock)
    clock.advance(LEASE_S + 1)
    pulse.beat(lambda: clock.advance(LEASE_S + 1))
    assert pulse.lapsed


def test_a_beat_in_the_middle_of_asking_has_given_up_before_the_answer() -> None:
    """Who asks first and then looks for what it is told sees the one or the other."""
    clock, told = Clock(), []

    def interrupted() -> float:
        now_s = clock()
        if not told:
            told.append("being asked")
            pulse.beat(lambda: told.append("give up"))
        return now_s

    pulse = Pulse(clock=clock)
    clock.advance(LEASE_S + 1)
    pulse._clock = interrupted
    assert pulse.lapsed or "give up" in told


def test_its_clock_goes_on_while_the_machine_sleeps() -> None:
    if not hasattr(time, "CLOCK_BOOTTIME"):  # no such clock here: any that nobody sets will do
        assert uptime_s() <= time.monotonic()
        return
    before_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before_s <= uptime_s() <= time.clock_gettime(time.CLOCK_BOOTTIME)
