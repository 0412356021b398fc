"""What is made of the samples."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path

import numpy as np
import pytest

from loadtests.load.levels import SETTLE_S, Level, highest_level_held, levels, never_ended, percentile
from loadtests.load.plot import draw
from loadtests.load.report import figures, table, verdict
from loadtests.load.samples import Sample
from loadtests.load.shapes import shape

HOLD_S = 12.0


def stream(at_s: float, first_ms: float, gap_ms: float = 0.0) -> list[Sample]:
    return [
        Sample("POST", "stream", at_s, 1000.0, 100, 2.0, "miss"),
        Sample("AUDIO", "first audio", at_s, first_ms),
        Sample("AUDIO", "longest gap", at_s, gap_ms),
    ]


def run(*samples: Sample, levels_of: tuple[int, ...] = (5, 10, 5)) -> list[Level]:
    return levels(shape("steps", levels_of, HOLD_S), samples)


def good(*levels_of: int) -> list[Sample]:
    return [each for i in range(len(levels_of)) for each in stream(i * HOLD_S + 5, 100.0)]


def test_a_level_has_the_latencies_that_began_in_it_and_the_requests_that_ended_in_it() -> None:
    first, second, _ = run(*stream(HOLD_S - 0.5, 80.0), *stream(1.0, 9999.0), *stream(HOLD_S + 5, 200.0))
    assert (list(first.first_audio_ms), list(second.first_audio_ms)) == ([80.0], [200.0])
    window_s = HOLD_S - SETTLE_S
    assert (first.requests_per_s, first.made_per_s) == (pytest.approx(1 / window_s), pytest.approx(2 / window_s))
    assert second.requests_per_s == pytest.approx(1 / window_s)


def test_what_came_from_the_cache_was_not_made() -> None:
    [level] = run(Sample("POST", "repeat", 5.0, 10.0, 100, 4.0, "hit"), levels_of=(5,))
    assert level.requests_per_s > 0
    assert level.made_per_s == 0


def test_who_waited_for_a_clip_is_told_by_its_length() -> None:
    [level] = run(Sample("POST", "compose", 5.0, 3000.0, 100, 4.0, "miss"), levels_of=(5,))
    assert level.waited == [0.75]


def test_refusals_and_failures_count_from_the_first_moment_and_late_ones_for_the_last_level() -> None:
    refused = Sample("429", "compose", 0.1, 5.0, end="refused")
    wrong = Sample("POST", "compose", 3 * HOLD_S + 1, 5.0, end="wrong", failure="other bytes")
    first, second, last = run(*good(5, 10, 5), refused, wrong)
    assert (first.refused, first.failures) == (1, [])
    assert last.failures == ["POST compose: other bytes"]
    assert [each.holds(1000) for each in (first, second, last)] == [False, True, False]


def test_what_is_cut_off_just_as_it_begins_is_no_failure_and_what_never_ended_is_one() -> None:
    young, old = (Sample("POST", "stream", 5.0, ms, end="cut off") for ms in (4.0, 60_000.0))
    assert (never_ended(young), never_ended(old)) == (False, True)
    [level] = run(young, old, levels_of=(5,))
    assert level.failures == ["POST stream: no end of it came"]


def test_a_level_holds_while_one_stream_in_twenty_may_be_late_or_pause() -> None:
    def holds(late: int, pausing: int) -> bool:
        samples = [
            each for i in range(20) for each in stream(5.0, 2000.0 if i < late else 10.0, 100.0 if i < pausing else 0)
        ]
        [level] = run(*samples, levels_of=(5,))
        return level.holds(1000)

    assert holds(1, 0)
    assert holds(0, 1)
    assert not holds(2, 0)
    assert not holds(0, 2)
    assert not run(levels_of=(5,))[0].holds(1000)


def test_what_is_held_is_the_highest_level_below_which_all_hold() -> None:
    bad = stream(HOLD_S + 5, 5000.0)
    found = run(*stream(5, 10), *bad, *stream(2 * HOLD_S + 5, 10), levels_of=(5, 10, 20))
    best = highest_level_held(found, 1000)
    assert best is not None
    assert best.phase.users == 5
    assert highest_level_held(run(*bad), 1000) is None
    assert "saturates before 10" in verdict(found, 1000)
    assert "No level holds" in verdict(run(*bad), 1000)
    assert "not saturated" in verdict(run(*good(5, 10), levels_of=(5, 10)), 1000)


def test_percentiles_are_nearest_ranks() -> None:
    values = list(np.random.default_rng(0).uniform(0, 100, 37))
    for percent in (1, 50, 90, 95, 99, 100):
        slow = next(each for each in sorted(values) if sum(other <= each for other in values) >= 0.37 * percent)
        assert percentile(values, percent) == slow
    assert percentile(values, 50) == statistics.median(values)
    assert math.isnan(percentile([], 50))


def test_the_table_has_a_line_for_each_level_and_the_last_line_is_json_of_the_same() -> None:
    wrong = Sample("POST", "compose", 5.0, 5.0, end="wrong", failure="other bytes")
    found = run(*good(5, 10, 5), wrong, wrong)
    lines = table(found, 1000).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["5", "10", "5"]
    assert [line.split()[-1] for line in lines[1:4]] == ["no", "yes", "yes"]
    assert lines[4:] == ["failed 2 times: POST compose: other bytes"]
    told = json.loads(json.dumps(figures(found, 1000), allow_nan=False))
    assert (told["failures"], told["held_users"], len(told["levels"])) == (2, None, 3)
    empty = json.loads(json.dumps(figures(run(), 1000), allow_nan=False))
    assert empty["levels"][0]["first_audio_ms"] == {"p50": None, "p95": None, "p99": None}


def test_the_picture_is_drawn_with_what_came_afterwards_and_without_what_is_not_known(tmp_path: Path) -> None:
    for name, speed in (("one", 100.0), ("two", None)):
        path = tmp_path / "new" / f"{name}.png"
        draw(run(*good(5, 10, 5)), 1000, speed, "a machine", path)
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
