from __future__ import annotations

import json
from pathlib import Path

import pytest
from accelerate import Accelerator
from pydantic import BaseModel

from etude.training import pace as pace_module
from etude.training.loop import run
from etude.training.pace import Pace
from etude.training.run_folder import RunFolder


class Told(BaseModel):
    steps: int = 6


class Work:
    """Keeps a diary."""

    def __init__(self) -> None:
        self.diary: list[str] = []

    def begin(self) -> None:
        self.diary.append("begin")

    def advance(self, step: int) -> dict[str, object]:
        self.diary.append(f"step {step}")
        return {"loss": step}

    def figures(self) -> dict[str, object]:
        return {"held_out": {"loss": 1.0}}

    def export(self) -> None:
        self.diary.append("export")


def go(folder: Path, pace: Pace, steps: int = 6) -> tuple[int, list[str]]:
    work = Work()
    return run(work, RunFolder(folder, Told()), Accelerator(cpu=True), steps=steps, pace=pace, name="test"), work.diary


def at_a_minute_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace_module.time, "monotonic", iter(range(0, 10**6, 60)).__next__)


def test_a_run_begins_once_and_is_saved_at_both_ends(tmp_path: Path) -> None:
    steps, diary = go(tmp_path, Pace())
    assert steps == 6
    assert diary == ["begin", "export", *(f"step {step}" for step in range(6)), "export"]
    assert go(tmp_path, Pace()) == (6, ["export"])


def test_time_is_up_between_steps_and_the_next_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_a_minute_a_look(monkeypatch)
    steps, diary = go(tmp_path, Pace(minutes=3, save_minutes=100))
    assert (steps, diary[2:]) == (2, ["step 0", "step 1", "export"])
    monkeypatch.undo()
    assert go(tmp_path, Pace()) == (6, ["step 2", "step 3", "step 4", "step 5", "export"])


def test_states_are_as_far_apart_as_the_pace_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_a_minute_a_look(monkeypatch)
    _, diary = go(tmp_path, Pace(save_minutes=1.5))
    assert [i for i, entry in enumerate(diary[2:]) if entry == "export"] == [1, 4, 7, 9]


def test_the_log_has_steps_and_figures_where_the_pace_says(tmp_path: Path) -> None:
    go(tmp_path, Pace(log_steps=3, figures_steps=4))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], "held_out" in line) for line in lines] == [
        (0, True),
        (1, False),
        (3, False),
        (4, True),
        (6, False),
    ]


def test_nothing_to_say_is_not_logged(tmp_path: Path) -> None:
    work = Work()
    work.figures = dict  # type: ignore[method-assign]
    run(work, RunFolder(tmp_path, Told()), Accelerator(cpu=True), steps=1, pace=Pace(), name="test")
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 1
