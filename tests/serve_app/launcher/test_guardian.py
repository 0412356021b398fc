"""The guardian ends what carries its run's mark, all of it, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from serve_app.launcher.guardian import Guardian, marked

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
# A grandchild whose parent is gone and whose session is its own: out of reach of process groups and parents.
ORPHAN = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}], start_new_session=True)"
RUNNER = """
import sys, os, signal, subprocess
from pathlib import Path
from serve_app.launcher.guardian import Guardian
guardian = Guardian(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
command = [sys.executable, "-c", "import time; time.sleep(600)"]
child = subprocess.Popen(command, env={**os.environ, **guardian.environment})
print(child.pid, flush=True)
signal.pause()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    (run / "logs").mkdir(parents=True)
    return run


@pytest.fixture
def bystander() -> Iterator[psutil.Process]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield psutil.Process(process.pid)
    process.kill()
    process.wait()


def is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(processes: list[psutil.Process], timeout_s: float) -> bool:
    _, alive = psutil.wait_procs([process for process in processes if not is_gone(process)], timeout=timeout_s)
    return all(is_gone(process) for process in alive)


def test_closing_ends_stubborn_orphans_and_removes_the_folder(folder: Path, bystander: psutil.Process) -> None:
    with ExitStack() as stack:
        guardian = stack.enter_context(Guardian(folder, None))
        environment = {**os.environ, **guardian.environment}
        parent = stack.enter_context(
            subprocess.Popen([sys.executable, "-c", ORPHAN], env=environment, stdout=subprocess.PIPE, text=True)
        )
        assert parent.stdout is not None
        assert parent.stdout.readline() == "up\n"
        parent.wait()
        mark = guardian.environment["MUSICGEN_SERVE_RUN"]
        [orphan] = marked(mark)
        guardian.close()
        assert marked(mark) == []
        assert is_gone(orphan)
    assert not folder.exists()
    assert bystander.is_running()


def test_a_killed_runner_leaves_nothing(folder: Path, bystander: psutil.Process) -> None:
    with subprocess.Popen([sys.executable, "-c", RUNNER, str(folder)], stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout is not None
        child = psutil.Process(int(runner.stdout.readline()))
        family = psutil.Process(runner.pid).children(recursive=True)
        assert child in family
        runner.kill()
        assert wait_until_gone(family, timeout_s=10)
    assert not folder.exists()
    assert bystander.is_running()


@pytest.mark.parametrize("already", [False, True], ids=["then", "before"])
def test_the_runner_is_ended_when_its_parent_is_gone(folder: Path, already: bool) -> None:
    parent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if already:
        parent.kill()
        parent.wait()
    command = [sys.executable, "-c", RUNNER, str(folder), str(parent.pid)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout is not None
        runner.stdout.readline()
        family = psutil.Process(runner.pid).children(recursive=True)
        if not already:
            parent.kill()
        assert runner.wait(timeout=10) == -signal.SIGTERM
        assert wait_until_gone(family, timeout_s=10)
    parent.wait()
