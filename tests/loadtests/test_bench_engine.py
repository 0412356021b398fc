"""The benchmark runs, and ends with the line that others read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

KEYS = [
    *("shape", "device", "threads", "dtype", "requests", "frames", "ms_per_step", "audio_s_per_s"),
    *("peer", "peer_dtype", "peer_ms_per_step", "peer_audio_s_per_s", "ratio", "floor_ms_per_step"),
]


def test_the_last_line_is_json_with_every_figure_of_both_sides(project_root: Path) -> None:
    command = [sys.executable, "-m", "loadtests.bench_engine", "--shape", "tiny", "--requests", "2", "--frames", "4"]
    done = subprocess.run(command, cwd=project_root, capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert list(figures) == KEYS
    assert figures["ratio"] > 0
    assert figures["ms_per_step"] > figures["floor_ms_per_step"] > 0
