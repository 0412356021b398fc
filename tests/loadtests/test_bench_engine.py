"""The benchmark runs, and ends with the line that others read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.language_model.engine.request import num_steps
from loadtests.bench_engine import cache_bytes, main
from loadtests.measuring.engine_times import time_engine, warm_engine
from loadtests.measuring.requests import code_requests, first_sound_frames
from loadtests.measuring.shapes import SHAPES, random_tensors

KEYS = [
    *("shape", "device", "threads", "dtype", "requests", "frames", "ms_per_step", "audio_s_per_s"),
    *("peer", "peer_dtype", "peer_ms_per_step", "peer_audio_s_per_s", "ratio"),
    *("floor_ms_per_step", "floor_with_cache_ms_per_step"),
    *("p50_ms_per_step", "p99_ms_per_step", "last_100_ms_per_step", "first_sound_ms", "peer_frames"),
    *("serve_audio_s_per_s", "serve_overhead_ratio", "serve_first_sound_ms"),
]


def test_the_last_line_is_json_with_every_figure_of_both_sides(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--shape", "tiny", "--requests", "2", "--frames", "16", "--peer-frames", "4"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(figures) == KEYS
    assert figures["peer_frames"] == 4
    assert figures["ratio"] > 0
    assert figures["floor_ms_per_step"] > 0
    assert all(value or name.startswith("serve_") for name, value in figures.items())


def test_without_a_peer_its_figures_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--shape", "tiny", "--frames", "4", "--peer-frames", "0"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(figures) == KEYS
    missing = {name for name, value in figures.items() if value is None}
    of_the_peer = {"peer_ms_per_step", "peer_audio_s_per_s", "ratio"}
    assert missing == of_the_peer | {name for name in KEYS if name.startswith("serve_")}


@pytest.mark.nightly
def test_through_serve_the_same_requests_are_made_once_more(project_root: Path) -> None:
    command = [sys.executable, "-m", "loadtests.bench_engine", "--shape", "tiny", "--threads", "1"]
    command += ["--requests", "2", "--frames", "16", "--peer-frames", "4", "--through", "serve"]
    done = subprocess.run(command, cwd=project_root, capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert list(figures) == KEYS
    assert all(figures.values())


def test_the_times_are_of_every_step_and_the_first_sound_of_the_frames_it_needs() -> None:
    config, frames = SHAPES["tiny"].config, 20
    with warm_engine(config, random_tensors(config), "int8", "cpu", num_slots=2, max_frames=frames) as engine:
        times = time_engine(engine, "cpu", 2, frames)
        assert engine.idle
    assert len(times.steps_s) == times.num_steps == num_steps(frames, config.delays)
    assert times.audio_s == 2 * 20 / 50
    assert times.total_s > times.steps_s.sum() - 1e-9
    first_steps = num_steps(first_sound_frames(frames), config.delays)
    assert times.first_sound_s == pytest.approx(times.steps_s[:first_steps].sum())
    assert times.percentile_ms(50) <= times.percentile_ms(99)


def test_the_first_sound_needs_the_first_chunk_that_the_service_asks_for() -> None:
    assert [first_sound_frames(frames) for frames in (1, 11, 12, 1500)] == [1, 11, 12, 12]
    assert code_requests(1, 1500, 8)[0].chunk_ends[0] == 12


def test_the_average_step_of_a_long_clip_reads_half_of_the_keys_and_values_that_the_last_reads() -> None:
    config = SHAPES["small"].config
    positions = num_steps(1500, config.delays)
    last_step_bytes = 2 * positions * 2 * 24 * 1024 * 2
    assert cache_bytes(config, "int8", 1, 1500) == pytest.approx(last_step_bytes / 2, rel=0.001)
    assert cache_bytes(config, "float32", 8, 1500) == 16 * cache_bytes(config, "bfloat16", 1, 1500)
