"""The process that outlives the runner, so that nothing else does.

    python -m serve_app.launcher.guardian MARK FOLDER RUNNER_PID [PARENT_PID]

Every process of a run carries the run's mark in its environment, which children inherit whatever session or parent
they end up with. The guardian waits on a pipe that only the runner holds: at its end, however the runner ended, it
stops whatever still carries the mark, and removes the run's folder. It also ends the runner when `make` is gone.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import psutil

MARK = "MUSICGEN_SERVE_RUN"
GRACE_S = 1.0
_POLL_S = 0.05
_PARENT_POLL_S = 0.5


class Guardian:
    """The runner's end: while it is open the run may live. folder: the run's own, removed at the end."""

    def __init__(self, folder: Path, parent_pid: int | None) -> None:
        """parent_pid: a process that the run is not to outlive, or None."""
        self._mark = uuid.uuid4().hex
        command = [sys.executable, "-m", "serve_app.launcher.guardian", self._mark, str(folder), str(os.getpid())]
        if parent_pid is not None:
            command.append(str(parent_pid))
        # A session of its own: neither Ctrl-C nor the terminal's end reaches it. No output: nobody waits for it.
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def environment(self) -> Mapping[str, str]:
        """What each process of the run must have in its environment."""
        # Ray renames its workers; the renaming must not run over the environment, which begins after the name.
        return {MARK: self._mark, "SPT_NOENV": "1"}

    def close(self) -> None:
        """Ends the run: returns when none of its processes is left."""
        self._process.communicate()

    def __enter__(self) -> Guardian:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def marked(mark: str) -> list[psutil.Process]:
    """The living processes that carry `mark`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # gone in between, or another user's: none of ours
    return found


def sweep(mark: str) -> None:
    """Ends every process that carries `mark`: asks, and after GRACE_S forces those that are left."""
    deadline = time.monotonic() + GRACE_S
    asked: set[psutil.Process] = set()
    while left := marked(mark):
        overdue = time.monotonic() > deadline
        for process in left:
            if overdue or process not in asked:
                asked.add(process)
                try:
                    process.send_signal(signal.SIGKILL if overdue else signal.SIGTERM)
                except psutil.NoSuchProcess:
                    continue
        time.sleep(_POLL_S)


def _wait_for_the_end(runner_pid: int, parent: psutil.Process | None) -> None:
    while True:
        readable, _, _ = select.select([sys.stdin], [], [], None if parent is None else _PARENT_POLL_S)
        if readable:
            return
        if parent is not None and (not parent.is_running() or parent.status() == psutil.STATUS_ZOMBIE):
            os.kill(runner_pid, signal.SIGTERM)
            parent = None


def main(arguments: list[str]) -> None:
    """Guards until the standard input ends, then sweeps."""
    mark, folder, runner_pid, *parent_pid = arguments
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    try:
        parent = psutil.Process(int(parent_pid[0])) if parent_pid else None
    except psutil.NoSuchProcess:
        os.kill(int(runner_pid), signal.SIGTERM)
        parent = None
    _wait_for_the_end(int(runner_pid), parent)
    sweep(mark)
    if Path(folder).exists():
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
