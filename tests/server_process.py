"""A server's process with all of its children: started, stopped, paused, and ended with the tests."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

_TIMEOUT_S = 60.0


def wait_for(happened: Callable[[], bool], otherwise: str) -> None:
    """Returns when it has. Raises: RuntimeError with what is so otherwise, after a minute."""
    deadline = time.monotonic() + _TIMEOUT_S
    while not happened():
        if time.monotonic() > deadline:
            raise RuntimeError(otherwise)
        time.sleep(0.02)


class ServerProcess:
    """One program, as often as it is started. log: gets what it prints. answers: whether it serves.

    user: whose process it is, by name; the tests' own, if none is given.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        answers: Callable[[], bool],
        *,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        # Should the tests be killed, the kernel ends it too.
        self._command = ["setpriv", "--pdeathsig", "KILL", *command]
        self._log = log
        self._answers = answers
        self._user = user
        self._environment = environment
        # To the kernel its parent is the thread that starts it, and a test may do that in one which soon ends.
        self._parent = ThreadPoolExecutor(1, thread_name_prefix="server-parent")
        self._process: psutil.Popen | None = None

    def start(self) -> None:
        """Returns when it serves. Raises: RuntimeError with the end of its log when it doesn't."""
        assert self._process is None, "it runs already"
        self._process = self._parent.submit(self._spawn).result()
        deadline = time.monotonic() + _TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"the server does not serve:\n{self._log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Returns when nothing of it is left; what doesn't heed `how` is killed. Does nothing where it doesn't run."""
        if self._process is None:
            return
        self.resume()
        everybody = self._everybody()
        with contextlib.suppress(psutil.NoSuchProcess):
            self._process.send_signal(how)
        _, left = psutil.wait_procs(everybody, timeout=0 if how == signal.SIGKILL else 30)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=30)
        self._process.wait()
        self._process = None

    def pause(self) -> None:
        """The kernel still takes connections for it; nothing is answered."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on where it was."""
        self._send(signal.SIGCONT)

    def send(self, number: signal.Signals) -> None:
        """To the program alone, not to its children."""
        assert self._process is not None, "it does not run"
        self._process.send_signal(number)

    def close(self) -> None:
        """It is not started again."""
        self.stop()
        self._parent.shutdown()

    def _spawn(self) -> psutil.Popen:
        with self._log.open("ab") as log:
            return psutil.Popen(
                self._command,
                cwd="/",
                env=self._environment,
                user=self._user,
                group=None if self._user is None else pwd.getpwnam(self._user).pw_gid,
                extra_groups=None if self._user is None else [],
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None, "it does not run"
        # The parent first: once it stands still, it has no more children.
        with contextlib.suppress(psutil.NoSuchProcess):
            self._process.send_signal(number)
        for process in self._everybody():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _everybody(self) -> list[psutil.Process]:
        """The program, its children (PostgreSQL's leave its group), and its group, which outlives it."""
        assert self._process is not None, "it does not run"
        everybody = {self._process}
        with contextlib.suppress(psutil.NoSuchProcess):
            everybody.update(self._process.children(recursive=True))
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(process.pid) == self._process.pid and process.pid != self._process.pid:
                    everybody.add(process)
        return list(everybody)
