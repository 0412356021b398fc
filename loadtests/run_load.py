"""The load test `make loadtest`: how many users this machine holds, and where it saturates.

    .venv/bin/python -m loadtests.run_load --levels 10,20,30,40,10 --hold 20

Starts the real service with the embedded model on a free port, and lets Locust (`loadtests/locustfile.py`) request
music with more and more users. Locust shares the cores, so the service alone would do better. Ends with a table, a plot
and one line of JSON; Locust's report (HTML, CSV) is in --folder.

Exit status: 0 when no request failed, on any level; 1 otherwise; 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deployments.paths import ROOT
from loadtests.load.levels import Level, levels
from loadtests.load.locust_process import LoadError, run_locust
from loadtests.load.options import DEFAULT_WEIGHTS, MAX_USERS
from loadtests.load.plot import draw
from loadtests.load.report import figures, table, verdict
from loadtests.load.samples import Sample
from loadtests.load.shapes import Shape, shape
from loadtests.measuring.curve import Curve
from loadtests.measuring.exit_status import exit_status
from loadtests.measuring.hardware import commit, describe
from loadtests.measuring.running import running
from serve_app.cli.terminal import Progress
from serve_app.launcher.guardian import Guardian
from serve_app.launcher.service import LaunchError

ENGINE_CURVE = ROOT / "loadtests" / "results" / "tiny-cpu.json"


def engine_per_s() -> float:
    """Audio-seconds a second of the embedded model's shape, as `bench_engine` measured it, at its best."""
    return max(point.audio_s_per_s for point in Curve.read(ENGINE_CURVE).of("ours"))


def run(options: argparse.Namespace, progress: Progress) -> list[Level]:
    """What each level had. Raises: LaunchError, LoadError."""
    chosen = shape("steps", options.levels, options.hold)
    arguments = ["--shape", "steps", "--levels", ",".join(map(str, options.levels)), "--hold", str(options.hold)]
    arguments += ["--pace", str(options.pace), "--lengths", options.lengths, "--weights", options.weights]
    arguments += ["--seed", str(options.seed)]

    def watch(samples: Sequence[Sample]) -> None:
        progress.update(_so_far(chosen, samples))

    scratch = Path(tempfile.mkdtemp(prefix="musicgen-load-", dir="/tmp"))
    with (
        # Should this process be killed, it ends Locust, as the service's own does the service.
        Guardian(scratch, options.parent) as guardian,
        running({}, progress.step, parent_pid=options.parent) as service,
    ):
        progress.line("the service is ready")
        progress.step(f"load: {', '.join(map(str, options.levels))} users, {options.hold:g} s each")
        folder, environment = options.folder, guardian.environment
        samples = run_locust(service.url, arguments, chosen.duration_s, folder, environment, watch)
        progress.step("stopping")
    return levels(chosen, samples)


def show(options: argparse.Namespace, progress: Progress) -> bool:
    """Runs it and tells what it came to; whether no request failed. Raises: as `run`."""
    measured_on = f"{describe('cpu')}, commit {commit()}"
    found = run(options, progress)
    draw(found, options.bound, engine_per_s(), measured_on, options.picture)
    progress.line(f"{table(found, options.bound)}\n{verdict(found, options.bound)}")
    progress.line(f"the picture: {options.picture}; Locust's report: {options.folder}/report.html")
    progress.line(json.dumps({"measured_on": measured_on, **figures(found, options.bound)}))
    return not any(level.failures for level in found)


def _so_far(chosen: Shape, samples: Sequence[Sample]) -> str:
    now_s = max((sample.end_s for sample in samples), default=0.0)
    phase = chosen.at(now_s)
    users = "the last answers" if phase is None else f"{phase.users} users"
    requests = sum(sample.method != "AUDIO" for sample in samples)
    wrong = sum(sample.end == "wrong" for sample in samples)
    return f"load: {users}; {requests} requests, {wrong} failed, {now_s:.0f} of {chosen.duration_s:.0f} s"


def main(arguments: list[str]) -> int:
    """The load test; returns the exit status."""
    weights = ",".join(f"{kind}={weight}" for kind, weight in DEFAULT_WEIGHTS.items())
    parser = argparse.ArgumentParser(prog="python -m loadtests.run_load", description=__doc__.splitlines()[0])
    parser.add_argument("--levels", type=_levels, default="10,20,30,40,50,60,10", help="of users")
    parser.add_argument("--hold", type=float, default=20, metavar="SECONDS", help="each level")
    parser.add_argument("--pace", type=float, default=4, metavar="SECONDS", help="between a user's requests")
    parser.add_argument("--lengths", default="2,4,6", metavar="SECONDS", help="of clips")
    parser.add_argument("--weights", default=weights, help="users of each kind, compared")
    parser.add_argument("--seed", type=int, default=0, help="of all that users draw")
    parser.add_argument(
        "--bound", type=float, default=1000, metavar="MS", help="for the first sound of 95 %% of streams"
    )
    parser.add_argument("--folder", type=Path, default=Path("build/loadtest"), help="for Locust's report")
    parser.add_argument("--picture", type=Path, default=Path("loadtests/results/load.png"))
    parser.add_argument("--parent", type=int, metavar="PID", help="end when this process ends")
    options = parser.parse_args(arguments)
    return exit_status(lambda progress: show(options, progress), LaunchError, LoadError)


def _levels(text: str) -> list[int]:
    """Raises: ValueError, which argparse tells with the option's name."""
    levels = [int(each) for each in text.split(",")]
    if not all(0 < each <= MAX_USERS for each in levels):
        raise ValueError
    return levels


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
