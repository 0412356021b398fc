"""Speeds: what comes out in a second, and what is done in a second of work."""

from __future__ import annotations

import pytest

from deployments.scaling_stats import BusyThroughput, ThroughputMeter


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_speedometer_tells_the_last_interval_and_the_fastest() -> None:
    clock = Clock()
    speed = ThroughputMeter(clock)
    for counted, now, most in ((10, 5, 5), (40, 20, 20), (0, 0, 20)):
        speed.count(counted)
        clock.now_s += 2
        speed.read()
        assert (speed.now_per_s, speed.peak_per_s) == (now, most)


def test_readings_close_to_each_other_are_one() -> None:
    clock = Clock()
    speed = ThroughputMeter(clock)
    speed.count(10)
    clock.now_s += 1
    speed.read()
    speed.count(1000)
    clock.now_s += 0.01
    speed.read()
    assert speed.peak_per_s == 10
    clock.now_s += 0.99
    speed.read()
    assert speed.now_per_s == 1000


def test_idle_time_is_not_work() -> None:
    clock = Clock()
    speed = BusyThroughput(clock)
    assert speed.per_s == 0
    for _ in range(3):
        with speed.timed(5):
            clock.now_s += 0.5
        clock.now_s += 100
    assert speed.per_s == pytest.approx(10)


def test_the_last_work_counts_most_and_what_fails_not_at_all() -> None:
    clock = Clock()
    speed = BusyThroughput(clock)
    for seconds in [1.0] * 50 + [0.1] * 50:
        with speed.timed(1):
            clock.now_s += seconds
    assert 9 < speed.per_s < 10
    before = speed.per_s
    with pytest.raises(ValueError, match="no"), speed.timed(1e9):
        raise ValueError("no")
    assert speed.per_s == before
