"""The simulator's command: the same seed says the same, and the last line is JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtests.simulate import main

SMALL = ["--days", "0.1", "--realtime", "3", "--batch", "3", "--preemptions", "1"]


def simulated(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[str, bytes]:
    """What was printed, and what was kept."""
    main([*SMALL, "--results", str(folder), *options])
    return capsys.readouterr().out, (folder / "simulate.json").read_bytes()


def test_the_same_seed_gives_the_same_figures_bit_for_bit_and_another_one_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = simulated(tmp_path / "first", capsys)
    assert simulated(tmp_path / "second", capsys) == first
    assert simulated(tmp_path / "third", capsys, "--seed", "1")[1] != first[1]
    last = json.loads(first[0].splitlines()[-1])
    assert last == json.loads(first[1])
    assert list(last["realtime"]) == list(last["batch"]) == list(last["cost_per_audio_hour"])
    assert (tmp_path / "first" / "simulate.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_every_fleet_gets_the_same_arrivals_and_its_figures_agree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = json.loads(simulated(tmp_path, capsys)[1])
    for pool in ("realtime", "batch"):
        assert len({row["generations"] for row in last[pool].values()}) == 1
        for row in last[pool].values():
            assert row["wait_p50_s"] <= row["wait_p95_s"] <= row["wait_p99_s"]
            assert 0 < row["utilisation"] <= 1
            assert row["cost_per_audio_hour"] == pytest.approx(row["cost"] / row["audio_hours"], rel=1e-4)
            assert row["replicas_least"] <= row["replicas_mean"] <= row["replicas_most"]
    fixed = [row["turns"] for name, row in last["realtime"].items() if name.startswith("fixed")]
    assert fixed == [0, 0, 0]


def test_the_engine_is_fitted_to_what_was_measured_unless_another_is_assumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "--only", "ours", "--days", "0.01"
    measured = json.loads(simulated(tmp_path, capsys, *options)[1])
    assert list(measured["realtime"]) == ["ours"]
    assert measured["scenario"]["engine"] == "fitted to tiny-cpu.json"
    assert measured["scenario"]["curve"]["each_s"] == pytest.approx(0.00015, rel=0.1)
    assumed = json.loads(simulated(tmp_path, capsys, *options, "--full-speed", "24", "--slots", "16")[1])
    assert assumed["scenario"]["engine"].startswith("assumed: 24 audio-s/s with 16 slots")


def test_an_engine_that_cannot_be_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--full-speed", "24", "--slots", "16", "--gain", "17"])
    assert "batching 16 generations gains from 1 to 16" in capsys.readouterr().err
