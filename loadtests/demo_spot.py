"""The demonstration `make demo-spot`: spot nodes are lost, with notice and without, and no request fails.

    .venv/bin/python -m loadtests.demo_spot --notice 120

Starts real Ray nodes on this machine, as a cluster has them: a head, two CPU nodes, two GPU nodes on demand and two on
spot, with fake GPUs: the embedded model computes on the CPU. `serve deploy` deploys the application there, real-time
workers on demand, batch workers on spot. Locust requests music, streamed, waited for and as jobs, and around each event
the spot nodes have all the jobs they can do. One spot node gets its notice by a metadata server like EC2's: the watcher
on it drains it, and it ends as soon as its work is elsewhere, or when the notice is over. The other one is killed
without notice. Other workers resume the jobs from the frame where they were. Afterwards those that lost their worker
are made again, and have to be the same bytes; nothing comes from a cache. Ends with a table and a plot.

The embedded model makes a minute of music in a second, so a drain would have nothing to move. Here it computes in
float32, some ten times as slowly, and its workers get one second to finish when they are stopped, instead of twenty.

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
from loadtests.fleet import deploy_file as application
from loadtests.fleet.fleet import Fleet, FleetError, fleet
from loadtests.load.locust_process import LoadError
from loadtests.measuring.exit_status import exit_status
from loadtests.measuring.hardware import commit, describe
from loadtests.measuring.running import free_port
from loadtests.spot.client import Client
from loadtests.spot.cloud import watched
from loadtests.spot.load import LocustLoad
from loadtests.spot.losses import LossLog
from loadtests.spot.observations import NodeLoss, Observations
from loadtests.spot.placement import BATCH, PlacementObserver
from loadtests.spot.plot import draw
from loadtests.spot.scenario import WORKERS, Scenario, ScenarioTimes
from loadtests.spot.table import table, verdict
from serve_app.cli.terminal import Progress
from serve_app.launcher.guardian import Guardian

NODES = ("cpu", "cpu", "gpu_realtime", "gpu_realtime", "gpu_batch", "gpu_batch")
_GRACE_S = 1
# The number of replicas is fixed, so that they change only with the nodes.
_MODEL: dict[str, Any] = {
    "dtype": "float32",
    "language_model": {**application.REALTIME, "autoscaling": {"min_replicas": 1, "max_replicas": 1}},
    "batch_language_model": {**application.BATCH, "autoscaling": {"min_replicas": WORKERS, "max_replicas": WORKERS}},
    # Enough decoders that jobs wait for language models only.
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
        self._observer = PlacementObserver(started, self._clock)
        self._losses = LossLog(partial(started.logs, "pipeline", application.APPLICATION), epoch_s)
        self._load = LocustLoad(_NUM_USERS, _USERS, folder / "locust", self._clock)

    async def run(self, times: ScenarioTimes) -> Observations:
        """All that was seen. Raises: FleetError, LoadError."""
        async with connect(self._url) as http:
            return await _meanwhile(self._run(http, times), self._observer.run())

    async def _run(self, http: httpx.AsyncClient, times: ScenarioTimes) -> Observations:
        await self._until_ready(http)
        client = Client(http, self._losses, self._clock)
        with watched(self._fleet.of("gpu_batch"), self._folder, self._environment) as clouds:
            scenario = Scenario(self._fleet, clouds, self._observer, client, self._progress.line)
            self._progress.step(f"load by Locust: {_NUM_USERS} users")
            began_s = self._clock()
            loading = asyncio.ensure_future(self._load.run(self._url, self._environment))

            async def told() -> list[NodeLoss]:
                node_losses = await scenario.run(times)
                self._load.enough()
                await loading
                return node_losses

            node_losses = await _meanwhile(told(), loading, self._tell())
        seen, jobs = list(self._observer.seen), list(client.jobs)
        self._losses.tell(jobs)
        lost_s = [at_s for at_s, _ in self._losses.all()]
        resumed = [job.reference for job in jobs if job.lost_s]
        self._progress.step(f"the {len(resumed)} clips that lost their worker again, undisturbed")
        undisturbed = await client.make_again(resumed)
        return Observations(began_s, node_losses, self._load.samples, lost_s, jobs, undisturbed, seen)

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
            observations = asyncio.run(demo.run(ScenarioTimes(calm_s=options.calm, notice_s=options.notice)))
            progress.step("stopping")
    draw(observations, f"{describe('cpu')}, commit {commit()}", options.picture)
    progress.line(f"{table(observations)}\n\n{verdict(observations)}")
    progress.line(f"the picture: {options.picture}")
    return not observations.faults()


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
