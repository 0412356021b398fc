"""Nothing of a server outlives the test that started it, however it went."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests.server_process import ServerProcess


def with_a_child(file: Path, then: str) -> list[str]:
    """A program that writes its child's number into the file."""
    return ["sh", "-c", f"sleep 1000 & echo $! > {file}; {then}"]


def child_of(file: Path) -> psutil.Process | None:
    """None where it has ended."""
    try:
        process = psutil.Process(int(file.read_text()))
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except psutil.NoSuchProcess:
        return None


def test_a_server_that_ends_as_it_starts_is_said_to_and_leaves_no_child(tmp_path: Path) -> None:
    process = ServerProcess(
        with_a_child(tmp_path / "child", "echo no room; exit 3"),
        tmp_path / "log",
        lambda: False,
    )
    with pytest.raises(RuntimeError, match="does not serve:\nno room"):
        process.start()
    process.close()
    assert child_of(tmp_path / "child") is None


@pytest.mark.parametrize("suspended", [False, True])
def test_a_server_that_is_closed_leaves_no_child(tmp_path: Path, suspended: bool) -> None:
    (tmp_path / "child").touch()
    process = ServerProcess(
        with_a_child(tmp_path / "child", "wait"),
        tmp_path / "log",
        lambda: (tmp_path / "child").read_text() != "",
    )
    process.start()
    assert child_of(tmp_path / "child") is not None
    if suspended:
        process.pause()
    process.close()
    assert child_of(tmp_path / "child") is None
