"""`python -m serve_app.run [--parent PID]`: what `make run` runs. The options come from the environment (options.py).

Exit status: 0 when the clip was made and, unless ONCE=1, the service was stopped afterwards; 1 when something failed;
2 when an option is wrong; 130 and 143 when Ctrl-C or SIGTERM came before the clip.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from serve_app.cli.options import OptionError, Options
from serve_app.cli.progress import Progress
from serve_app.launcher.clip import ClipError, ask, curl_line, save
from serve_app.launcher.guardian import Guardian
from serve_app.launcher.service import RefusedError, Service, ServiceError

CLIPS = Path("clips")
KEPT_LOGS = Path("build/run-logs")


class Stopped(BaseException):
    """Ctrl-C or SIGTERM."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.status = 128 + signum


def stop(signum: int, frame: FrameType | None) -> None:
    """The answer to the first signal; those after it don't disturb the end, which is short."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise Stopped(signum)


def run(options: Options, folder: Path, guardian: Guardian, progress: Progress) -> None:
    """Serves, makes the clip, and goes on serving until stopped unless `options.once`."""
    service = Service(options.config, options.port, options.duration_ms, folder, guardian.environment)
    try:
        url = service.wait_until_ready(progress.step)
        progress.line(f"the service is ready: {url} (how to use it: {url}/docs)")
        for note in service.notes:
            progress.line(f"  {note}")
        progress.step(f"making {options.duration_ms / 1000:g} s of {options.prompt!r}")
        clip = ask(
            url, options.prompt, options.duration_ms, options.seed, options.cache, progress.update, options.api_key
        )
        path = save(clip, CLIPS)
        progress.line(f"saved {path}")
        progress.line(
            f"  {clip.told(seed_given=options.seed is not None)}, "
            f"model {clip.model}, licence of its weights {clip.license}, seed {clip.seed}"
        )
        if options.once:
            return
        progress.line(f"the next one:\n  {_next(url, options)}")
        try:
            progress.line("serving; Ctrl-C ends it")
            service.check(wait_s=None)
        except Stopped as stopped:
            stopped.status = 0
            raise
    except (ServiceError, ClipError) as error:
        progress.line(str(error))
        if not isinstance(error, RefusedError):
            keep_logs(service)
            progress.line(f"  the logs: {KEPT_LOGS}")
        raise


def _next(url: str, options: Options) -> str:
    return curl_line(url, options.prompt, options.duration_ms, with_key=options.api_key is not None)


def keep_logs(service: Service) -> None:
    """Puts the logs where they outlast the run, in place of those of the failure before."""
    if KEPT_LOGS.exists():
        shutil.rmtree(KEPT_LOGS)
    KEPT_LOGS.mkdir(parents=True)
    shutil.copy(service.driver_log, KEPT_LOGS)
    if service.logs.exists():
        shutil.copytree(service.logs, KEPT_LOGS / "ray", dirs_exist_ok=True)


def main(arguments: list[str]) -> int:
    """The run; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m serve_app.run")
    parser.add_argument("--parent", type=int, metavar="PID", help="end when this process ends")
    parent_pid = parser.parse_args(arguments).parent
    try:
        options = Options.from_environment(os.environ)
    except OptionError as error:
        print(error, file=sys.stderr)
        return 2
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, stop)
    with Progress(sys.stdout) as progress:
        try:
            # /tmp by name: Ray puts Unix sockets below it, whose paths may have 107 bytes at most.
            folder = Path(tempfile.mkdtemp(prefix="musicgen-", dir="/tmp"))
            with Guardian(folder, parent_pid) as guardian:
                try:
                    run(options, folder, guardian, progress)
                finally:
                    progress.step("stopping")
        except (ServiceError, ClipError):
            return 1
        except Stopped as stopped:
            return stopped.status
        finally:
            progress.line("stopped; nothing is left running")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
