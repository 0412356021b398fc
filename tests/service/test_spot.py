"""The cloud takes a node back: its notice, the watcher on the node, Ray, and the clips that were made there."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack

import httpx
import pytest
from ray._raylet import GcsClient

from deployments.paths import ROOT
from loadtests.fleet import application
from loadtests.fleet.fleet import Node, fleet
from loadtests.fleet.metadata_server import metadata_server
from tests.ports import free_port
from tests.service.support.recording_model import FILE_VARIABLE, recorded_generations
from tests.service.support.two_replicas import clip, digest, gather, until
from tests.service.test_fleet import REALTIME, Service, ready

pytestmark = pytest.mark.slow

NOTICE_S = 60  # half of the cloud's
MARGIN_S = 5
AT_ONCE = 4
PREEMPTED = "AUTOSCALER_DRAIN_PREEMPTED"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One language model, which prefers a spot node, and another node on which it may be."""
    folder, port = tmp_path_factory.mktemp("spot"), free_port()
    frames, file = folder / "made.txt", folder / "deploy.yaml"
    frames.touch()
    language_model = {
        "num_cpus": 1,
        "nodes": application.BATCH["nodes"],
        "autoscaling": {"min_replicas": 1, "max_replicas": 1},
    }
    with fleet({FILE_VARIABLE: str(frames), "PYTHONPATH": str(ROOT)}) as started:
        for kind in ("cpu", "gpu_realtime", "gpu_batch"):
            started.add(kind)
        application.write(
            file, port, import_path="tests.service.support.short_grace_graph:build",
            language_model=language_model, batch_language_model=None,
        )  # fmt: skip
        started.deploy(file)
        running = Service(started, f"http://127.0.0.1:{port}", frames, file)
        asyncio.run(ready(running))
        yield running


class Load:
    """Clips of 30 s, several at a time and one after the other, for as long as it is entered; nobody fails."""

    def __init__(self, service: Service, first_seed: int) -> None:
        self._service = service
        self._seeds = itertools.count(first_seed)
        self._ends = asyncio.Event()
        self._clips: dict[int, httpx.Response] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Load:
        self._client = await self._stack.enter_async_context(self._service.client())
        self._workers = [asyncio.create_task(self._work(way)) for way in ("wait", "stream") * (AT_ONCE // 2)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.wait(self._workers)
        await self._stack.aclose()

    async def _work(self, way: str) -> None:
        while not self._ends.is_set():
            seed = next(self._seeds)
            self._clips[seed] = await clip(self._client, way, "wav", seed=seed)

    async def moved_from(self, process: int) -> int:
        """Ends it; how many went on elsewhere. Raises: AssertionError unless their bytes are undisturbed clips'."""
        self._ends.set()
        await asyncio.gather(*self._workers)
        moved = {}
        for seed, response in self._clips.items():
            makers = self._service.makers(response.headers["X-Generation-Id"])
            if makers[0] == process and len(makers) > 1:
                moved[seed] = digest(response)
        again = await gather([clip(self._client, "wait", "wav", seed=seed, cache="off") for seed in moved])
        assert [digest(response) for response in again] == list(moved.values())
        return len(moved)


def started(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "serve_app.cli.main", "node", *words]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


async def ended(process: subprocess.Popen[str]) -> list[str]:
    """Its events, once it has ended well."""
    _, log = await asyncio.to_thread(process.communicate, timeout=120)
    assert process.returncode == 0, log
    return [json.loads(line)["event"] for line in log.splitlines()]


async def deadline(gcs: GcsClient, node: Node) -> float:
    """Of a node once it drains, in seconds since 1970, as Ray knows it."""
    while node.node_id not in (draining := gcs.get_draining_nodes()):
        await asyncio.sleep(0.05)
    return float(draining[node.node_id]) / 1000


def death(gcs: GcsClient, node: Node) -> tuple[str, str]:
    """Why a node died, as Ray knows it: a reason and a message."""
    info = next(info for node_id, info in gcs.get_all_node_info().items() if node_id.hex() == node.node_id)
    assert info.state == info.DEAD
    return info.death_info.Reason.Name(info.death_info.reason), info.death_info.reason_message


async def makes(service: Service, process: int) -> None:
    """Returns when it has made some of something."""
    await until(lambda: any(process in made.processes for made in recorded_generations(service.frames).values()))


def test_a_spot_notice_drains_the_node_and_its_clips_are_made_elsewhere_to_the_byte(service: Service) -> None:
    async def scenario(node: Node) -> None:
        gcs = GcsClient(address=service.fleet.gcs_address)
        [doomed] = node.replicas(REALTIME)
        with metadata_server() as cloud:
            watch = started(
                "watch", "--node-id", node.node_id, "--metadata-url", cloud.url,
                "--poll-s", "0.5", "--margin-s", str(MARGIN_S),
            )  # fmt: skip
            async with Load(service, first_seed=100) as load:
                await makes(service, doomed.pid)
                given_s = time.time()
                cloud.interrupt("terminate", in_s=NOTICE_S)
                known_s = await deadline(gcs, node)
                # Ray's command counts from its own start; times are given and told in whole seconds.
                early_s = given_s + NOTICE_S - MARGIN_S - 3
                assert early_s <= known_s <= early_s + 4 + time.time() - given_s
                assert await ended(watch) == ["watching", "notice", "draining", "node_gone"]
                assert death(gcs, node) == (PREEMPTED, "spot notice: terminate")
                assert await load.moved_from(doomed.pid) >= 1

    asyncio.run(scenario(*service.fleet.of("gpu_batch")))


def test_the_drain_command_returns_when_nothing_is_left_on_the_node(service: Service) -> None:
    """As a preStop hook: what ends the container comes after it."""

    async def scenario(node: Node) -> None:
        gcs = GcsClient(address=service.fleet.gcs_address)
        service.fleet.add("gpu_batch")
        [doomed] = node.replicas(REALTIME)
        async with Load(service, first_seed=500) as load:
            await makes(service, doomed.pid)
            drain = started("drain", "--node-id", node.node_id, "--deadline-s", str(NOTICE_S))
            assert await ended(drain) == ["notice", "draining", "node_gone"]
            assert not node.replicas(REALTIME)
            assert death(gcs, node) == (PREEMPTED, "told to drain")
            assert await load.moved_from(doomed.pid) >= 1

    asyncio.run(scenario(*service.fleet.of("gpu_realtime")))
