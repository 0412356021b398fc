"""What the streaming benchmark makes of the times at which sound came."""

from __future__ import annotations

import pytest

from loadtests.bench_streaming import Arrivals


@pytest.mark.parametrize(
    ("times_s", "heard_s", "gap_s"),
    [
        ([0.1], [1.0], 0.0),
        ([0.1, 0.9, 2.0], [1.0, 2.0, 3.0], 0.0),
        ([0.1, 1.3, 2.0], [1.0, 2.0, 3.0], 0.2),
        ([0.1, 1.3, 2.6], [1.0, 2.0, 3.0], 0.3),
    ],
    ids=["one piece", "in time", "once late", "late again, from where it went on"],
)
def test_a_gap_is_what_a_player_waits_for(times_s: list[float], heard_s: list[float], gap_s: float) -> None:
    assert Arrivals(times_s, heard_s, b"").max_gap_s == pytest.approx(gap_s)
