"""When users ask again."""

from __future__ import annotations

import itertools
import random
import statistics

import pytest

from loadtests.load.pace import Pace


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
