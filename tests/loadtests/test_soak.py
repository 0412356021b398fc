"""Requests of every kind come and go through one engine, and nothing of them stays."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.measuring.shapes import SHAPES
from loadtests.soak import SAMPLINGS, main, visits

CONFIG = SHAPES["tiny"].config
MOST_GROWTH = 0.02


def test_the_last_line_tells_what_became_of_all_requests_and_that_memory_stays(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["--requests", "150", "--frames", "8", "--slots", "4"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["requests"] == figures["whole"] + figures["resumed"] + figures["left"] == 150
    assert min(figures["resumed"], figures["left"]) > 5
    assert figures["growth"] < MOST_GROWTH
    assert figures["end"]["tensors"] <= figures["settled"]["tensors"]


@pytest.mark.nightly
def test_after_a_thousand_requests_memory_is_within_2_percent_of_that_after_fifty(project_root: Path) -> None:
    command = [sys.executable, "-m", "loadtests.soak", "--requests", "1000", "--frames", "60"]
    done = subprocess.run(command, cwd=project_root, capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["requests"] == 1000
    assert figures["settled_after"] == 50
    assert abs(figures["growth"]) < MOST_GROWTH


def test_the_visits_are_of_every_kind_and_the_same_each_time() -> None:
    first, again = (list(visits(CONFIG, 300, num_slots=4, max_frames=50, seed=1)) for _ in range(2))
    assert [each.request.num_frames for each in first[:4]] == [50] * 4
    assert {each.request.sampling for each in first} == set(SAMPLINGS)
    assert {each.leaves_after for each in first} == {None, 0, 1, 2}
    assert any(each.request.prompt_codes is not None for each in first)
    assert len({len(each.request.text_states) for each in first}) > 30
    assert [each.request.seed for each in first] == [each.request.seed for each in again]
