"""Locust in a process of its own: it patches the sockets of the one it is in."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deployments.paths import ROOT
from loadtests.load.sample import Sample, SampleReader

LOCUSTFILE = ROOT / "loadtests" / "locustfile.py"
# Longer than any answer takes that comes at all.
STOP_TIMEOUT_S = 60
_LOOK_S = 0.5
_START_S = 60.0
_FAILED = 1


class LoadError(Exception):
    """Locust could not do its work; with the end of what it said."""


def run_locust(
    url: str,
    arguments: Sequence[str],
    duration_s: float,
    folder: Path,
    environment: Mapping[str, str],
    watch: Callable[[list[Sample]], None],
    over: Callable[[], bool] = lambda: False,
) -> list[Sample]:
    """What all requests came to; Locust's own report (report.html, *.csv, locust.log) lies in the folder.

    arguments: the load's options. duration_s: of its shape. environment: in addition to this process's.
    watch: is called now and then with all samples so far; what it raises ends Locust at once. over: whether its users
    shall end what they have begun, and it with them, before the shape does. Raises: LoadError.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    path, log = folder / "samples.jsonl", folder / "locust.log"
    path.unlink(missing_ok=True)
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary", "--host", url]
    command += ["--csv", str(folder / "load"), "--html", str(folder / "report.html"), "--samples", str(path)]
    command += ["--stop-timeout", str(STOP_TIMEOUT_S), *arguments]
    reader, samples = SampleReader(path), list[Sample]()
    deadline_s = time.monotonic() + _START_S + duration_s + STOP_TIMEOUT_S
    told = False
    with log.open("wb") as said:
        process = subprocess.Popen(  # noqa: S603 - Locust, with our own file
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us, and we end it
        )
        try:
            while process.poll() is None and time.monotonic() < deadline_s:
                time.sleep(_LOOK_S)
                samples += reader.new()
                watch(samples)
                if over() and not told:
                    process.terminate()
                    told = True
        finally:
            process.kill()
            process.wait()
    samples += reader.new()
    # It ends with 1 after a failed request, and after an error of its own.
    failed = any(sample.end == "wrong" for sample in samples)
    if not samples or process.returncode != (_FAILED if failed else 0):
        raise LoadError(f"Locust ended with status {process.returncode}:\n{log.read_text(errors='replace')[-2000:]}")
    return samples
