"""What is said of a demonstration is what was seen: faults, table and picture."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from loadtests.spot.placement import Placement
from loadtests.spot.plot import draw
from loadtests.spot.table import table, verdict
from tests.loadtests.spot.examples import NOTICE, job, observations, sample

PNG = b"\x89PNG\r\n\x1a\n"


def test_all_is_well_when_nothing_failed_all_is_equal_and_both_events_moved_a_clip() -> None:
    assert observations().faults() == []
    assert "none of 80 requests failed; all 3 jobs of the demonstration finished, and 2 that had lost" in verdict(
        observations()
    )


@pytest.mark.parametrize(
    ("other", "fault"),
    [
        (
            {"samples": [sample(1, 2, end="wrong", failure="it broke off")]},
            "1 of 1 requests failed: POST compose: it bro",
        ),
        ({"samples": [sample(1, 5000, end="cut off")]}, "1 of 1 requests failed: POST compose: no end of it came"),
        ({"jobs": [job(1, 20, 40, 31, 61, sha256="00")]}, "clips 1 are not the undisturbed ones"),
        ({"jobs": [replace(job(1, 20, 40, 31, 61), error="JobFailed: no")]}, "clip 1 failed at 20 s: JobFailed: no"),
        ({"jobs": [job(1, 20, 40, 31, 61, sha256="")]}, "clips 1 are not the undisturbed ones"),
        ({"undisturbed": [job(1, 95, 99)]}, "clips 3 are not the undisturbed ones"),
        ({"jobs": [job(1, 20, 40, 31)]}, "nothing is shown of the kill: no clip lost its worker by it"),
        (
            {"node_losses": [replace(NOTICE, drained=False)]},
            "the node with a notice was not drained before the cloud took",
        ),
        ({"placements": [Placement(1, {}, frozenset(), 1)]}, "a real-time worker was on a spot node"),
    ],
)
def test_whatever_is_not_as_it_should_be_is_said(other: dict[str, object], fault: str) -> None:
    [told] = observations(**other).faults()
    assert told.startswith(fault)
    assert verdict(observations(**other)) == told


def test_who_was_refused_or_met_by_the_end_is_no_failure() -> None:
    samples = [sample(1, 5, method="429", end="refused"), sample(2, 10, end="cut off"), sample(3, 100)]
    seen = observations(samples=samples)
    assert seen.faults() == []
    assert len(seen.requests) == 1
    assert "1 requests were put off (429)" in verdict(seen)


def test_a_clip_s_pause_is_between_what_was_made_before_and_after_it_lost_its_worker() -> None:
    lost = job(1, 20.0, 40.0, 31.0)
    assert lost.pause_s(31.0) == 5.0
    assert lost.pause_s(22.0) == 0.0, "nothing of it was made by then"
    assert lost.pause_s(41.0) == 0.0, "all of it was"
    assert observations().longest_pause_s(observations().node_losses[0]) == 5.0


def test_the_table_has_a_line_for_each_event_and_one_for_each_clip_that_moved() -> None:
    events, clips = table(observations()).split("\n\n")
    assert [re.split(" {2,}", line) for line in events.splitlines()[1:]] == [
        ["nothing yet", "-", "-", "-", "-", "-", "-", "0.0", "9", "0"],
        ["notice, drained", "10", "25.0", "12.0", "2", "1", "5.0", "0.0", "40", "0"],
        ["killed, no notice", "50", "0.1", "6.5", "1", "1", "5.0", "0.2", "30", "0"],
    ]
    assert [re.split(" {2,}", line) for line in clips.splitlines()[1:]] == [
        ["1", "notice", "7", "5.0", "3", "abababababab", "yes"],
        ["3", "kill", "7", "5.0", "3", "abababababab", "yes"],
    ]


def test_the_picture_is_drawn_of_much_and_of_nothing(tmp_path: Path) -> None:
    failing = observations(jobs=[job(1, 20, 40, 31, 61, sha256="00"), replace(job(2, 50, 51), ended_s=None)])
    nothing = observations(node_losses=[], samples=[], losses_s=[], jobs=[], placements=[])
    for i, each in enumerate((observations(), failing, nothing)):
        draw(each, "here", tmp_path / "new" / f"{i}.png")
        assert (tmp_path / "new" / f"{i}.png").read_bytes().startswith(PNG)
