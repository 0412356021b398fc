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
    """Clips of 30 s, several at a time, made one after the other until told to end; nobody fails."""

    def __init__(self, client: httpx.AsyncClient, first_seed: int) -> None:
        self._client = client
        self._seeds = itertools.count(first_seed)
        self._ends = asyncio.Event()
        self._clips: dict[int, httpx.Response] = {}
        self._workers = asyncio.gather(*(self._work(way) for way in ("wait", "stream") * (AT_ONCE // 2)))

    async def _work(self, way: str) -> None:
        while not self._ends.is_set():
            seed = next(self._seeds)
            self._clips[seed] = await clip(self._client, way, "wav", seed=seed)

    async def intact(self) -> set[str]:
        """Ends it. The generations. Raises: AssertionError when a byte is not that of an undisturbed clip."""
        self._ends.set()
        await self._workers
        again = [clip(self._client, "wait", "wav", seed=seed, cache="off") for seed in self._clips]
        assert [digest(one) for one in self._clips.values()] == [digest(one) for one in await gathered(list(again))]
        return {one.headers["X-Generation-Id"][:16] for one in self._clips.values()}


def test_a_spot_notice_drains_the_node_and_its_clips_are_made_elsewhere_to_the_byte(cluster: SpotNodes) -> None:
    async def scenario() -> None:
        async with cluster.client() as client:
            node = cluster.ask("first", "spot")
            doomed = cluster.language_models()[node]
            with metadata_server() as cloud:
                watch = started(
                    "watch", "--node-id", node, "--metadata-url", cloud.url,
                    "--poll-s", "0.5", "--margin-s", str(MARGIN_S),
                )  # fmt: skip
                load = Load(client, first_seed=100)
                await until(lambda: any(doomed in made.processes for made in recorded(cluster.frames).values()))
                given_s = time.time()
                cloud.interrupt("terminate", in_s=NOTICE_S)
                while node not in (draining := cluster.ask("draining")):
                    await asyncio.sleep(0.05)
                # Ray counts from when its command has started.
                end_s, taken_s = given_s + NOTICE_S, time.time() - given_s
                assert end_s - MARGIN_S - 3 <= draining[node] <= end_s - MARGIN_S + taken_s
                assert await ended(watch) == ["watching", "notice", "draining", "node_gone"]
            assert cluster.ask("death", node) == [PREEMPTED, "spot notice: terminate"]
            generations = await load.intact()
            made = [each for name, each in recorded(cluster.frames).items() if name in generations]
            assert any(each.processes[0] == doomed and len(each.processes) > 1 for each in made)

    asyncio.run(scenario())


def test_a_drain_that_is_told_returns_when_nothing_is_left_on_the_node(cluster: SpotNodes) -> None:
    """As a preStop hook: what ends the container comes after it."""

    async def scenario() -> None:
        node = cluster.ask("add", "spot")
        await until(lambda: node in cluster.language_models())
        async with cluster.client() as client:
            load = Load(client, first_seed=500)
            events = await ended(started("drain", "--node-id", node, "--deadline-s", "15"))
            assert events == ["notice", "draining", "node_gone"]
            assert node not in cluster.language_models()
            assert cluster.ask("death", node) == [PREEMPTED, "told to drain"]
            await load.intact()

    asyncio.run(scenario())
