"""What the streaming benchmark makes of the times at which sound came, and the way without a service."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from loadtests.bench_streaming import Arrivals
from loadtests.measuring.in_process import in_process
from tests.tiny import tiny_checkpoint


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


def test_in_one_process_a_clip_comes_in_the_pieces_of_the_service_and_in_order(tmp_path: Path) -> None:
    with in_process(tiny_checkpoint(tmp_path / "tiny"), 2000) as here:
        arrivals_s = asyncio.run(here.arrivals_s("a tune", 2000, seed=1))
    assert arrivals_s == sorted(arrivals_s)
    assert len(arrivals_s) > 5
