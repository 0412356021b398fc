"""The cloud takes a node back: its notice, the watcher on the node, Ray, and the clips that were made there."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

from deployments.checkpoints.root import ROOT
from tests.metadata_server import metadata_server
from tests.service.pair import clip, digest, gathered, until
from tests.service.recorded import recorded
from tests.service.spot_nodes import SpotNodes, spot_nodes

pytestmark = pytest.mark.slow

NOTICE_S = 15  # rather than the cloud's 120
MARGIN_S = 5
AT_ONCE = 4
PREEMPTED = "AUTOSCALER_DRAIN_PREEMPTED"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpotNodes]:
    folder = tmp_path_factory.mktemp("spot")
    with spot_nodes(folder, folder / "made.txt") as running:
        yield running


def started(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "serve_app.spot", *words]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


async def ended(process: subprocess.Popen[str]) -> list[str]:
    """Its events, once it has ended well."""
    _, log = await asyncio.to_thread(process.communicate, timeout=120)
    assert process.returncode == 0, log
    return [json.loads(line)["event"] for line in log.splitlines()]


class Load:
    """Clips of 30 s, several at a time and one after the other, for as long as it is entered; nobody fails."""

    def __init__(self, cluster: SpotNodes, client: httpx.AsyncClient, first_seed: int) -> None:
        self._cluster = cluster
        self._client = client
        self._seeds = itertools.count(first_seed)
        self._ends = asyncio.Event()
        self._clips: dict[int, httpx.Response] = {}

    async def __aenter__(self) -> Load:
        self._workers = [asyncio.create_task(self._work(way)) for way in ("wait", "stream") * (AT_ONCE // 2)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.wait(self._workers)

    async def _work(self, way: str) -> None:
        while not self._ends.is_set():
            seed = next(self._seeds)
            self._clips[seed] = await clip(self._client, way, "wav", seed=seed)

    async def moved_from(self, process: int) -> int:
        """Ends it; how many went on elsewhere. Raises: AssertionError unless their bytes are undisturbed clips'."""
        self._ends.set()
        await asyncio.gather(*self._workers)
        made = recorded(self._cluster.frames)
        moved = {}
        for seed, response in self._clips.items():
            processes = made[response.headers["X-Generation-Id"][:16]].processes
            if processes[0] == process and len(processes) > 1:
                moved[seed] = digest(response)
        again = await gathered([clip(self._client, "wait", "wav", seed=seed, cache="off") for seed in moved])
        assert [digest(response) for response in again] == list(moved.values())
        return len(moved)


def test_a_spot_notice_drains_the_node_and_its_clips_are_made_elsewhere_to_the_byte(cluster: SpotNodes) -> None:
    async def scenario() -> None:
        node = cluster.ask("first", "spot")
        doomed = cluster.language_models()[node]
        with metadata_server() as cloud:
            watch = started(
                "watch", "--node-id", node, "--metadata-url", cloud.url, "--poll-s", "0.5", "--margin-s", str(MARGIN_S)
            )
            async with cluster.client() as client, Load(cluster, client, first_seed=100) as load:
                await until(lambda: any(doomed in made.processes for made in recorded(cluster.frames).values()))
                given_s = time.time()
                cloud.interrupt("terminate", in_s=NOTICE_S)
                while node not in (draining := cluster.ask("draining")):
                    await asyncio.sleep(0.05)
                # Ray's command counts from its own start; times are given and told in whole seconds.
                end_s, taken_s = given_s + NOTICE_S, time.time() - given_s
                assert end_s - MARGIN_S - 3 <= draining[node] <= end_s - MARGIN_S + 1 + taken_s
                assert await ended(watch) == ["watching", "notice", "draining", "node_gone"]
                assert cluster.ask("death", node) == [PREEMPTED, "spot notice: terminate"]
                assert await load.moved_from(doomed) >= 1

    asyncio.run(scenario())


def test_a_drain_that_is_told_returns_when_nothing_is_left_on_the_node(cluster: SpotNodes) -> None:
    """As a preStop hook: what ends the container comes after it."""

    async def scenario() -> None:
        node = cluster.ask("add", "spot")
        await until(lambda: node in cluster.language_models())
        doomed = cluster.language_models()[node]
        async with cluster.client() as client, Load(cluster, client, first_seed=500) as load:
            await until(lambda: any(doomed in made.processes for made in recorded(cluster.frames).values()))
            assert await ended(started("drain", "--node-id", node, "--deadline-s", "15")) == [
                "notice",
                "draining",
                "node_gone",
            ]
            assert cluster.ask("death", node) == [PREEMPTED, "told to drain"]
            await load.moved_from(doomed)

    asyncio.run(scenario())
