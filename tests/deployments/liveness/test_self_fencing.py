"""Self-fencing: when a replica must give up its requests, and that nobody sees a moment in between."""

from __future__ import annotations

import time

from deployments.liveness.self_fencing import SelfFencing
from deployments.liveness.timings import TIMINGS, uptime_s
from tests.deployments.language_model.engine.clock import Clock

LEASE_S, HEARTBEAT_S = TIMINGS.engine_lease_s, TIMINGS.heartbeat_s


def never() -> None:
    raise AssertionError("the lease has not expired")


def test_it_expires_once_the_lease_is_over_and_not_before() -> None:
    clock = Clock()
    fencing = SelfFencing(clock=clock)
    clock.advance(LEASE_S)
    assert not fencing.expired
    clock.advance(0.001)
    assert fencing.expired


def test_renewals_keep_it_alive_however_long() -> None:
    clock = Clock()
    fencing = SelfFencing(clock=clock)
    for _ in range(100):
        clock.advance(LEASE_S - HEARTBEAT_S)
        fencing.renew(never)
        assert not fencing.expired


def test_the_renewal_after_it_expired_gives_up_while_that_is_still_seen() -> None:
    clock, seen = Clock(), []
    fencing = SelfFencing(clock=clock)
    clock.advance(LEASE_S + 1)
    fencing.renew(lambda: seen.append(fencing.expired))
    assert seen == [True]
    assert not fencing.expired
    fencing.renew(never)


def test_one_suspended_between_giving_up_and_renewing_wakes_with_an_expired_lease() -> None:
    clock = Clock()
    fencing = SelfFencing(clock=clock)
    clock.advance(LEASE_S + 1)
    fencing.renew(lambda: clock.advance(LEASE_S + 1))
    assert fencing.expired


def test_a_renewal_in_the_middle_of_looking_has_given_up_before_the_answer() -> None:
    """One that looks at the lease first and then at its commands sees the one or the other."""
    clock, told = Clock(), []

    def interrupted() -> float:
        now_s = clock()
        if not told:
            told.append("being looked at")
            fencing.renew(lambda: told.append("give up"))
        return now_s

    fencing = SelfFencing(clock=clock)
    clock.advance(LEASE_S + 1)
    fencing._clock = interrupted
    assert fencing.expired or "give up" in told


def test_its_clock_goes_on_while_the_machine_sleeps() -> None:
    if not hasattr(time, "CLOCK_BOOTTIME"):  # no such clock here: any that nobody sets will do
        assert uptime_s() <= time.monotonic()
        return
    before_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before_s <= uptime_s() <= time.clock_gettime(time.CLOCK_BOOTTIME)
