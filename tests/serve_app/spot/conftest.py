"""A metadata server for each test, and a process that looks like a raylet."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loadtests.fleet.metadata_server import MetadataServer, metadata_server

# What a process is called is the name of its file; this one says that it is there, and stays until its input ends.
_RAYLET = f"#!{sys.executable}\nimport sys\nprint('up', flush=True)\nsys.stdin.read()\n"

StartRaylet = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def server() -> Iterator[MetadataServer]:
    with metadata_server() as running:
        yield running


@pytest.fixture
def start_raylet(tmp_path: Path) -> Iterator[StartRaylet]:
    """Takes a node's id. The processes end with the test."""
    program = tmp_path / "raylet"
    program.write_text(_RAYLET)
    program.chmod(0o755)
    started = []

    def start(node_id: str) -> subprocess.Popen[str]:
        command = [str(program), f"--node_id={node_id}", "--gcs-address=127.0.0.1:6379"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        return process

    yield start
    for process in started:
        process.communicate()
