"""The benchmark runs, compares what sounds the same, and ends with the line that others read."""

from __future__ import annotations

import json

import pytest

from loadtests.bench_codec import main

KEYS = [
    *("filters", "seconds", "threads", "audio_s_per_s", "peer", "peer_audio_s_per_s", "ratio"),
    *("first_window_ms", "max_abs_diff"),
]


def test_the_last_line_is_json_with_every_figure_of_both_sides(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--filters", "4", "--seconds", "1", "--repeats", "1"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(figures) == KEYS
    assert figures["ratio"] > 0
    assert figures["max_abs_diff"] < 1e-4
