"""What `make demo-spot` shows: spot nodes go, with notice and without, and nobody who asks for music notices.

    .venv/bin/python -m loadtests.demo_spot --notice 120

Starts real Ray nodes on this machine, as a cluster has them: a head, two CPU nodes, two GPU nodes on demand and two on
spot, whose GPUs are not there: the embedded model computes on the CPU. `serve deploy` brings the application there,
real-time workers on demand, batch workers on spot. Locust asks for music, streamed, waited for and as jobs, and around
each event the spot nodes have all the jobs they can do. One spot node gets its notice by a metadata server like EC2's:
the watcher on it drains it, and it is gone as soon as its work is elsewhere, or when the notice is over. The other one
is killed without. Jobs go on with other workers from the frame where they were. When all is quiet, those that lost
their worker are made once more, and have to be the same bytes; nothing comes from a cache. Ends with a table and a
picture.

The embedded model makes a minute of music in a second, and a drain would have nothing to move. So it computes in
float32, some ten times as slowly, and its workers get one second to end what they have begun, rather than the twenty
that those of larger models need for less.

Exit status: 0 when no request failed, every clip is equal, both events cost clips their worker and no real-time worker
was on spot; 1 otherwise; 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx

from loadtests.demo.client import connect
from loadtests.fleet import application
from loadtests.fleet.fleet import Fleet, FleetError, fleet
from loadtests.load.locust_process import LoadError
from loadtests.measuring.exit_status import exit_status
from loadtests.measuring.hardware import commit, describe
from loadtests.measuring.running import free_port
from loadtests.spot.client import Client
from loadtests.spot.cloud import watched
from loadtests.spot.evidence import Chapter, Evidence
from loadtests.spot.load import Load
from loadtests.spot.losses import LossLog
from loadtests.spot.picture import draw
from loadtests.spot.placement import BATCH, Observer
from loadtests.spot.story import WORKERS, Story, Times
from loadtests.spot.table import table, verdict
from serve_app.cli.terminal import Progress
from serve_app.launcher.guardian import Guardian

NODES = ("cpu", "cpu", "gpu_realtime", "gpu_realtime", "gpu_batch", "gpu_batch")
_GRACE_S = 1
# Nobody comes or goes but by what happens to nodes.
_MODEL: dict[str, Any] = {
    "dtype": "float32",
    "language_model": {**application.REALTIME, "autoscaling": {"min_replicas": 1, "max_replicas": 1}},
    "batch_language_model": {**application.BATCH, "autoscaling": {"min_replicas": WORKERS, "max_replicas": WORKERS}},
    # Jobs wait for language models, rather than for the one decoder that listens to them.
    "codec_decoder": {**application.CPU_NODES, "num_replicas": 3},
}
# What two cores hold beside the jobs on spot nodes.
_NUM_USERS = 7
_USERS = ("--weights", "compose=2,stream=3,job=2", "--lengths", "4,8", "--pace", "4", "--silence", "120")
_LOOK_S = 0.5
_READY_S = 300.0

Result = TypeVar("Result")


class Demo:
    """url: of the service on these nodes. folder: for logs. environment: of all processes that are started. Its clock
    counts from the start of the nodes.
    """

    def __init__(
        self,
        started: Fleet,
        url: str,
        folder: Path,
        environment: Mapping[str, str],
        progress: Progress,
        clock: Callable[[], float],
    ) -> None:
        self._fleet = started
        self._url = url
        self._folder = folder
        self._environment = environment
        self._progress = progress
        self._clock = clock
        epoch_s = time.time() - clock()
        self._observer = Observer(started, self._clock)
        self._losses = LossLog(partial(started.logs, "pipeline", application.APPLICATION), epoch_s)
        self._load = Load(_NUM_USERS, _USERS, folder / "locust", self._clock)

    async def run(self, times: Times) -> Evidence:
        """All that was seen. Raises: FleetError, LoadError."""
        async with connect(self._url) as http:
            return await _meanwhile(self._run(http, times), self._observer.run())

    async def _run(self, http: httpx.AsyncClient, times: Times) -> Evidence:
        await self._until_ready(http)
        client = Client(http, self._losses, self._clock)
        with watched(self._fleet.of("gpu_batch"), self._folder, self._environment) as clouds:
            story = Story(self._fleet, clouds, self._observer, client, self._progress.line)
            self._progress.step(f"load by Locust: {_NUM_USERS} users")
            began_s = self._clock()
            loading = asyncio.ensure_future(self._load.run(self._url, self._environment))

            async def told() -> list[Chapter]:
                chapters = await story.run(times)
                self._load.enough()
                await loading
                return chapters

            chapters = await _meanwhile(told(), loading, self._tell())
        seen, takes = list(self._observer.seen), list(client.takes)
        self._losses.tell(takes)
        lost_s = [at_s for at_s, _ in self._losses.all()]
        moved = [take.reference for take in takes if take.lost_s]
        self._progress.step(f"the {len(moved)} clips that lost their worker once more, undisturbed")
        undisturbed = await client.once_more(moved)
        return Evidence(began_s, chapters, self._load.samples, lost_s, takes, undisturbed, seen)

    async def _until_ready(self, http: httpx.AsyncClient) -> None:
        self._progress.step("waiting until the service is ready")
        until_s = self._clock() + _READY_S
        while self._clock() < until_s:
            with contextlib.suppress(httpx.TransportError):
                if (await http.get("/ready")).status_code == 200:
                    await self._observer.until(lambda seen: seen.of(BATCH) == WORKERS)
                    self._progress.line("the service is ready")
                    return
            await asyncio.sleep(_LOOK_S)
        raise FleetError(f"the service was not ready after {_READY_S:g} s")

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            self._progress.update(f"load by Locust: {_NUM_USERS} users, {self._load.told}")


async def _meanwhile(work: Coroutine[Any, Any, Result], *others: Awaitable[None]) -> Result:
    """What comes of the work. The others end with it at the latest. Raises: what one of them raises before."""
    task = asyncio.create_task(work)
    beside = [asyncio.ensure_future(other) for other in others]
    waited: set[asyncio.Future[Any]] = {task, *beside}
    try:
        while not task.done():
            done, waited = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            for each in done - {task}:
                each.result()
        return task.result()
    finally:
        for each in (task, *beside):
            each.cancel()
        await asyncio.gather(task, *beside, return_exceptions=True)


def run(options: argparse.Namespace, progress: Progress) -> bool:
    """Whether it is shown that nothing is lost. Raises: FleetError, LoadError."""
    began_s = time.monotonic()

    def clock() -> float:
        return time.monotonic() - began_s

    scratch = Path(tempfile.mkdtemp(prefix="spot-", dir="/tmp"))
    port = free_port()
    with Guardian(scratch, options.parent) as guardian:
        nodes = scratch / "f"
        nodes.mkdir()
        progress.step(f"starting Ray nodes: a head, {', '.join(NODES)}")
        with fleet(guardian.environment, nodes) as started:
            for kind in NODES:
                started.add(kind)
            progress.step("serve deploy")
            file = scratch / "deploy.yaml"
            hasty = {"name": BATCH, "graceful_shutdown_timeout_s": _GRACE_S}
            application.write(file, port, deployments=[hasty], **_MODEL)
            started.deploy(file)
            demo = Demo(started, f"http://127.0.0.1:{port}", scratch, guardian.environment, progress, clock)
            evidence = asyncio.run(demo.run(Times(calm_s=options.calm, notice_s=options.notice)))
            progress.step("stopping")
    draw(evidence, f"{describe('cpu')}, commit {commit()}", options.picture)
    progress.line(f"{table(evidence)}\n\n{verdict(evidence)}")
    progress.line(f"the picture: {options.picture}")
    return not evidence.faults()


def main(arguments: list[str]) -> int:
    """The demonstration; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.demo_spot", description=__doc__.splitlines()[0])
    parser.add_argument("--notice", type=float, default=120, metavar="SECONDS", help="from a notice to the node's end")
    parser.add_argument("--calm", type=float, default=10, metavar="SECONDS", help="before and after each event")
    parser.add_argument("--picture", type=Path, default=Path("loadtests/results/demo-spot.png"))
    parser.add_argument("--parent", type=int, metavar="PID", help="end when this process ends")
    options = parser.parse_args(arguments)
    return exit_status(lambda progress: run(options, progress), FleetError, LoadError)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
