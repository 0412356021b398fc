"""`musicgen serve`: runs the service on this machine, makes a first clip, and goes on serving until it is stopped.

Each option may come from the environment too, by the name that `make run` gives it (DURATION for `--duration`).
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.paths import STATE_VARIABLE
from serve_app.cli.options import (
    Json,
    Key,
    OptionError,
    ServeOptions,
    StateDir,
    use_state_folder,
)
from serve_app.cli.terminal import DONE, FAILED, WRONG_USAGE, CommandError, Progress, print_json
from serve_app.client import KEY_VARIABLE

if TYPE_CHECKING:
    from serve_app.launcher.clip import Clip
    from serve_app.launcher.guardian import Guardian
    from serve_app.launcher.service import Service

CLIPS = Path("clips")
KEPT_LOGS = Path("build/run-logs")
# Every model makes it: for a service that is started without a clip.
_SHORTEST_MS = 1


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


@dataclass(frozen=True)
class Run:
    """One run of the service. home: where clips and logs of a failure go."""

    options: ServeOptions
    home: Path
    progress: Progress
    wants_clip: bool
    prints_json: bool

    def serve(self, folder: Path, guardian: Guardian) -> None:
        """Serves, makes the clip, and goes on serving until stopped unless `options.once`."""
        from serve_app.launcher.clip import ClipError
        from serve_app.launcher.service import LaunchError, RefusedError, Service

        options, progress = self.options, self.progress
        duration_ms = options.duration_ms if self.wants_clip else _SHORTEST_MS
        service = Service(options.config, options.port, duration_ms, folder, guardian.environment)
        try:
            url = service.wait_until_ready(progress.step)
            progress.line(f"the service is ready: {url} (how to use it: {url}/docs)")
            for note in service.notes:
                progress.line(f"  {note}")
            document: dict[str, object] = {"url": url}
            if self.wants_clip:
                path, clip = self._make_clip(url)
                document |= {"file": str(path), **clip.document()}
            if self.prints_json:
                print_json(document)
            if options.once:
                return
            self._wait(service, url)
        except (LaunchError, ClipError) as error:
            progress.line(str(error))
            if not isinstance(error, RefusedError):
                progress.line(f"  the logs: {self._keep_logs(service)}")
            raise

    def _make_clip(self, url: str) -> tuple[Path, Clip]:
        from serve_app.launcher.clip import ask, save

        options, progress = self.options, self.progress
        progress.step(f"making {options.duration_ms / 1000:g} s of {options.prompt!r}")
        clip = ask(
            url, options.prompt, options.duration_ms, options.seed, options.cache, progress.update, options.api_key
        )
        path = save(clip, self.home / CLIPS)
        progress.line(f"saved {path}")
        progress.line(
            f"  {clip.told(seed_given=options.seed is not None, refresh=_refresh())}, "
            f"model {clip.model}, licence of its weights {clip.license}, seed {clip.seed}"
        )
        return path, clip

    def _wait(self, service: Service, url: str) -> None:
        from serve_app.launcher.clip import curl_line

        options, progress = self.options, self.progress
        line = curl_line(url, options.prompt, options.duration_ms, with_key=options.api_key is not None)
        progress.line(f"{'the next one' if self.wants_clip else 'a clip'}:\n  {line}")
        try:
            progress.line("serving; Ctrl-C ends it")
            service.check(wait_s=None)
        except Stopped as stopped:
            stopped.status = DONE
            raise

    def _keep_logs(self, service: Service) -> Path:
        """Puts the logs where they outlast the run, in place of those of the failure before."""
        kept = self.home / KEPT_LOGS
        if kept.exists():
            shutil.rmtree(kept)
        kept.mkdir(parents=True)
        shutil.copy(service.driver_log, kept)
        if service.logs.exists():
            shutil.copytree(service.logs, kept / "ray", dirs_exist_ok=True)
        return kept


def _refresh() -> str:
    """How whoever started this says that a cached clip won't do."""
    return "CACHE=refresh" if "MAKELEVEL" in os.environ else "--cache refresh"


def run(run_of: Run, parent_pid: int | None) -> int:
    """From the first signal handler to the last process gone; returns the exit status."""
    from serve_app.launcher.clip import ClipError
    from serve_app.launcher.guardian import Guardian
    from serve_app.launcher.service import LaunchError

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, stop)
    progress = run_of.progress
    try:
        # /tmp by name: Ray puts Unix sockets below it, whose paths may have 107 bytes at most.
        folder = Path(tempfile.mkdtemp(prefix="musicgen-", dir="/tmp"))
        with Guardian(folder, parent_pid) as guardian:
            try:
                run_of.serve(folder, guardian)
            finally:
                progress.step("stopping")
    except (LaunchError, ClipError):
        return FAILED
    except Stopped as stopped:
        return stopped.status
    finally:
        progress.line("stopped; nothing is left running")
    return DONE


def serve(
    prompt: Annotated[str | None, typer.Option(metavar="WORDS", help="Of the first clip (or PROMPT).")] = None,
    duration: Annotated[str | None, typer.Option(metavar="SECONDS", help="Of the first clip (or DURATION).")] = None,
    seed: Annotated[str | None, typer.Option(metavar="N", help="Of the first clip (or SEED).")] = None,
    port: Annotated[str | None, typer.Option(metavar="PORT", help="In place of the deploy file's (or PORT).")] = None,
    config: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Deploy file, or the name of one that comes with the package (or CONFIG)."),
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(
            metavar="use|refresh|off", help="Whether a cached clip will do; refresh makes another (or CACHE)."
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End after the first clip (or ONCE=1).")] = False,
    no_clip: Annotated[bool, typer.Option("--no-clip", help="Make no first clip: only serve.")] = False,
    state_dir: StateDir = None,
    key: Key = None,
    json: Json = False,
    parent: Annotated[int | None, typer.Option(hidden=True, help="End when this process ends.")] = None,
) -> int:
    """Run the service on this machine, make a first clip, and serve until Ctrl-C.

    The clip is saved in the folder `clips`. Without options: ten seconds of calm piano by the model that comes with
    the package, at http://127.0.0.1:8000.

    Example: musicgen serve --prompt "a slow blues" --duration 20
    """
    flags = {
        "PROMPT": prompt,
        "DURATION": duration,
        "SEED": seed,
        "PORT": port,
        "CONFIG": config,
        "CACHE": cache,
        KEY_VARIABLE: key,
    }
    try:
        options = ServeOptions.read({**os.environ, **({"ONCE": "1"} if once else {})}, flags)
    except OptionError as error:
        raise CommandError(str(error), WRONG_USAGE) from None
    if no_clip and options.once:
        raise CommandError("--once ends after the clip, and --no-clip makes none; use one of them", WRONG_USAGE)
    home = Path(state_dir or os.environ.get(STATE_VARIABLE) or ".").expanduser()
    use_state_folder(state_dir)
    with Progress(sys.stderr if json else sys.stdout) as progress:
        return run(Run(options, home, progress, not no_clip, json), parent)
