"""The demonstration `make demo-kill`: workers are killed while they make music, and no work is lost.

    .venv/bin/python -m loadtests.demo_kill --clips 16 --seconds 20

Starts the real service with the embedded model in two language-model replicas, and asks for clips, all at once, every
other one as a stream: first undisturbed, then the same clips again in each round, while `kill -9` hits a replica at a
random moment. They have to be the undisturbed ones, byte for byte. Nothing can come from a cache: the service has none,
and no request would take from it. Ends with a table, a plot and the clips.

Exit status: 0 when every clip is equal and some had lost their worker; 1 otherwise; 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from loadtests.demo.client import connect, request_all
from loadtests.demo.clip import SCENES, ClipRequest, ClipRun
from loadtests.demo.plot import draw
from loadtests.demo.table import Comparison, table, verdict
from loadtests.demo.worker_kill import WorkerKill, replicas_added
from loadtests.measuring.exit_status import exit_status
from loadtests.measuring.running import MODEL, Running, running
from serve_app.cli.terminal import Progress
from serve_app.launcher.service import LaunchError

REPLICAS = 2
# One replica alone has room for all, so that the clips of the other go on at once.
MAX_CLIPS = 32
# Of the time that all clips take undisturbed: codes are made well before their sound is.
_MOMENT = (0.03, 0.2)
_MAX_ATTEMPTS = 4
_LOOK_S = 0.2


def clip_requests(num: int, duration_ms: int) -> list[ClipRequest]:
    """Half of them streamed, no two alike."""
    return [ClipRequest(i + 1, SCENES[i % len(SCENES)], i, duration_ms, streamed=i % 2 == 0) for i in range(num)]


@dataclass(frozen=True)
class Round:
    """All clips once, with a kill. killed_s: since all were requested; None: all were whole before. lost: by
    generation, the frames at which it lost its worker.
    """

    clips: Sequence[ClipRun]
    killed_s: float | None
    lost: Mapping[str, Sequence[int]]


class UndisturbedFailed(Exception):
    """There is nothing to compare with; one sentence."""


class Demo:
    """requests: all sent at once. chance: draws the moments of the kills."""

    def __init__(
        self, service: Running, requests: Sequence[ClipRequest], progress: Progress, chance: random.Random
    ) -> None:
        self._service = service
        self._requests = requests
        self._progress = progress
        self._chance = chance
        self._num_kills = 0

    async def run(self, num_rounds: int) -> tuple[list[Comparison], list[float | None]]:
        """What became of each clip, and when each round's kill was, in seconds since all clips were requested.

        Raises: UndisturbedFailed. A round in which a clip fails is the last.
        """
        async with connect(self._service.url) as client:
            undisturbed, took_s = await request_all(client, self._requests, "undisturbed", self._progress)
            for clip in undisturbed:
                if clip.error is not None:
                    raise UndisturbedFailed(
                        f"clip {clip.request.number} failed, and nothing disturbed it: {clip.error}"
                    )
            self._progress.line(f"undisturbed: all {len(self._requests)} are here after {took_s:.1f} s")
            rounds: list[Round] = []
            while len(rounds) < num_rounds and all(clip.whole for each in rounds for clip in each.clips):
                rounds.append(await self._round(client, took_s))
        comparisons = []
        for i, clip in enumerate(undisturbed):
            lost_at = [each.lost.get(clip.generation or "", ()) for each in rounds]
            comparisons.append(Comparison(clip, [each.clips[i] for each in rounds], lost_at))
        return comparisons, [each.killed_s for each in rounds]

    async def _round(self, client: httpx.AsyncClient, undisturbed_s: float) -> Round:
        """Once more, with an earlier kill, where it came too late to hit any clip."""
        for attempt in range(_MAX_ATTEMPTS):
            self._progress.step(f"waiting until there are {REPLICAS} replicas of the language model")
            while replicas_added(self._service) < REPLICAS + self._num_kills:  # noqa: ASYNC110 - it is in a log
                await asyncio.sleep(_LOOK_S)
            killing = WorkerKill(self._service, self._progress.line)
            after_s = self._chance.uniform(*_MOMENT) * undisturbed_s / 2**attempt
            beside = functools.partial(killing.run, after_s)
            clips, took_s = await request_all(client, self._requests, "the same again", self._progress, beside)
            self._progress.line(f"the same again: all {len(self._requests)} are here after {took_s:.1f} s")
            self._num_kills += killing.killed_s is not None
            result = Round(clips, killing.killed_s, killing.lost())
            if result.lost or not all(clip.whole for clip in clips):
                break
            self._progress.line("  but all codes had been made when the kill came")
        return result


def save(comparisons: Sequence[Comparison], folder: Path) -> None:
    """The last round's clips, and where one is not the undisturbed one, that too."""
    folder.mkdir(parents=True, exist_ok=True)
    for each in comparisons:
        path = folder / each.undisturbed.request.file_name
        path.write_bytes(each.killed[-1].wav)
        if not each.equal:
            path.with_stem(f"{path.stem}-undisturbed").write_bytes(each.undisturbed.wav)


def run(options: argparse.Namespace, progress: Progress) -> bool:
    """Whether it is shown that nothing is lost."""
    model = {
        "source": "./etude/checkpoint",
        "license": "CC0-1.0",
        "slots": MAX_CLIPS,
        "language_model": {"num_replicas": REPLICAS, "num_cpus": 0.3},
    }
    args = {"models": {MODEL: model}, "cache": {"store": "none"}}
    chance = random.Random(options.chance)  # noqa: S311 - moments, not secrets
    with running(args, progress.step, parent_pid=options.parent) as service:
        progress.line(f"the service is ready, with {REPLICAS} replicas of the language model")
        demo = Demo(service, clip_requests(options.clips, round(1000 * options.seconds)), progress, chance)
        comparisons, kills_s = asyncio.run(demo.run(options.rounds))
        progress.step("stopping")
    draw(comparisons, kills_s, options.picture)
    save(comparisons, options.folder)
    progress.line(f"{table(comparisons)}\n{verdict(comparisons)}")
    progress.line(f"the picture: {options.picture}; the clips: {options.folder}")
    return all(each.equal for each in comparisons) and any(each.lost_worker for each in comparisons)


def main(arguments: list[str]) -> int:
    """The demonstration; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.demo_kill", description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, choices=range(2, MAX_CLIPS + 1), metavar="N", default=16, help="at once")
    parser.add_argument("--seconds", type=float, default=20, help="of each clip")
    parser.add_argument("--rounds", type=int, choices=range(1, 5), default=2, help="with a kill in each")
    parser.add_argument("--chance", type=int, help="the seed of the kills' moments; another one each time by default")
    parser.add_argument("--picture", type=Path, default=Path("loadtests/results/demo-kill.png"))
    parser.add_argument("--folder", type=Path, default=Path("clips/demo-kill"), help="for the clips")
    parser.add_argument("--parent", type=int, metavar="PID", help="end when this process ends")
    options = parser.parse_args(arguments)
    return exit_status(lambda progress: run(options, progress), LaunchError, UndisturbedFailed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
