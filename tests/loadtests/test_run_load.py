"""The load test against the real service, as short as it can be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.run_load import engine_per_s, main


def test_the_engine_alone_is_what_its_benchmark_measured() -> None:
    assert engine_per_s() > 10


def test_levels_that_are_no_numbers_of_users_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for levels in ("many", "0", "5,-1", ""):
        with pytest.raises(SystemExit):
            main(["--levels", levels])
    assert "--levels" in capsys.readouterr().err


@pytest.mark.nightly
def test_a_fresh_service_is_loaded_and_no_request_fails(tmp_path: Path, project_root: Path) -> None:
    command = [sys.executable, "-m", "loadtests.run_load", "--levels", "5,10,5", "--hold", "6", "--lengths", "1,2"]
    command += ["--folder", str(tmp_path / "load"), "--picture", str(tmp_path / "load.png")]
    done = subprocess.run(command, cwd=project_root, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["failures"] == 0
    assert [level["users"] for level in told["levels"]] == [5, 10, 5]
    assert told["most_audio_s_per_s"] > 0
    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert {path.name for path in (tmp_path / "load").iterdir()} >= {"report.html", "load_stats.csv", "samples.jsonl"}
