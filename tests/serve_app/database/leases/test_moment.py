"""The time of SQLite's leases is the machine's, for all its processes, and nobody sets it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployments.liveness.timings import uptime_s
from serve_app.database import lease_table as module
from serve_app.database.lease_table import ClockReading, read_clock
from tests.serve_app.database.tables import database


def now(folder: Path) -> ClockReading:
    opened = database(folder)
    with opened.reading() as connection:
        found = read_clock(connection)
    opened.close()
    return found


def test_it_is_the_same_for_every_process(tmp_path: Path) -> None:
    before = uptime_s()
    command = [sys.executable, "-c", "import time; print(time.clock_gettime(time.CLOCK_BOOTTIME))"]
    elsewhere = float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert before < elsewhere < now(tmp_path).now_s


def test_its_era_is_the_boot(tmp_path: Path) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert len(boot) == 36
    assert now(tmp_path).era == boot


def test_without_a_boots_name_there_is_one_era(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BOOT_ID", tmp_path / "none")
    assert now(tmp_path).era == ""


def test_it_is_not_the_wall_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = now(tmp_path)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert now(tmp_path).now_s >= before.now_s
