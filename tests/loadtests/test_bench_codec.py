"""The benchmark runs, compares what sounds the same, and ends with the line that others read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

KEYS = [
    *("filters", "seconds", "threads", "audio_s_per_s", "peer", "peer_audio_s_per_s", "ratio"),
    *("first_window_ms", "max_abs_diff"),
]


def test_the_last_line_is_json_with_every_figure_of_both_sides(project_root: Path) -> None:
    options = ["--filters", "4", "--seconds", "1", "--threads", "1", "--repeats", "1"]
    command = [sys.executable, "-m", "loadtests.bench_codec", *options]
    done = subprocess.run(command, cwd=project_root, capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert list(figures) == KEYS
    assert figures["ratio"] > 0
    assert figures["max_abs_diff"] < 1e-4
