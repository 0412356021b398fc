"""The application on a fleet: pools on nodes of their own, which come and go with the work. Real Ray nodes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deployments.paths import ROOT
from loadtests.fleet import application
from loadtests.fleet.fleet import Fleet, Node, fleet
from tests.ports import free_port
from tests.service.conftest import REQUEST_TIMEOUT_S
from tests.service.support.recording_model import FILE_VARIABLE, recorded_generations
from tests.service.support.two_replicas import until

pytestmark = pytest.mark.slow

REALTIME, BATCH = f"{application.MODEL}-language-model", f"{application.MODEL}-batch-language-model"


@dataclass(frozen=True)
class Service:
    """frames: see `recorded_generations`. file: that was deployed."""

    fleet: Fleet
    url: str
    frames: Path
    file: Path

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=REQUEST_TIMEOUT_S, trust_env=False)

    def makers(self, generation: str) -> list[int]:
        """Processes that made some of a generation."""
        return recorded_generations(self.frames)[generation[:16]].processes

    def processes(self, kind: str) -> set[int]:
        """Of language models on nodes of this kind."""
        nodes = self.fleet.of(kind)
        return {each.pid for node in nodes for name in (REALTIME, BATCH) for each in node.replicas(name)}

    def replicas(self, deployment: str) -> set[str]:
        """Those that take requests, by their ids."""
        replicas = self.fleet.deployments(application.APPLICATION)[deployment]["replicas"]
        return {each["replica_id"] for each in replicas if each["state"] == "RUNNING"}

    def running(self, deployment: str) -> int:
        return len(self.replicas(deployment))


@contextlib.contextmanager
def service(folder: Path, kinds: Sequence[str], **pools: Any) -> Iterator[Service]:
    """Deployed by `serve deploy`, once it is ready."""
    frames, port = folder / "made.txt", free_port()
    frames.touch()
    with fleet({FILE_VARIABLE: str(frames), "PYTHONPATH": str(ROOT)}) as started:
        for kind in kinds:
            started.add(kind)
        file = folder / "deploy.yaml"
        application.write(file, port, import_path="tests.service.support.recording_graph:build", **pools)
        started.deploy(file)
        running = Service(started, f"http://127.0.0.1:{port}", frames, file)
        asyncio.run(ready(running))
        yield running


async def ready(running: Service) -> None:
    async with running.client() as client:
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get("/ready")).status_code == 200:
                    return
            await asyncio.sleep(0.5)


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One head, two CPU nodes, two GPU nodes on demand, two on spot."""
    kinds = ("cpu", "cpu", "gpu_realtime", "gpu_realtime", "gpu_batch", "gpu_batch")
    with service(tmp_path_factory.mktemp("pools"), kinds) as running:
        yield running


async def sound(client: httpx.AsyncClient, seed: int, seconds: float = 4) -> str:
    """Asks for it and waits; the generation that it is."""
    body = {"prompt": "a brass band", "music_length_ms": round(1000 * seconds), "seed": seed}
    answer = await client.post("/v1/music", json=body)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-generation-id"]


async def job(client: httpx.AsyncClient, seed: int, queue: str = "batch", seconds: float = 4) -> str:
    """Submits it and waits for its end; the generation that it is."""
    body = {"prompt": "a brass band", "music_length_ms": round(1000 * seconds), "seed": seed, "queue": queue}
    answer = await client.post("/v1/generations", json=body)
    assert answer.status_code == 202, answer.text
    while True:
        job = (await client.get(f"/v1/generations/{answer.json()['id']}")).json()
        if job["state"] not in ("queued", "running"):
            assert job["state"] == "succeeded", job
            return job["variations"][0]["music_id"]
        await asyncio.sleep(0.2)


def gone(nodes: Sequence[Node]) -> None:
    for node in nodes:
        node.kill()


async def seen(pools: Service, found: dict[str, set[int]]) -> None:
    """Who has been on nodes of each kind: replicas come and go. Until cancelled."""
    while True:
        for kind in found:
            found[kind] |= await asyncio.to_thread(pools.processes, kind)
        await asyncio.sleep(0.1)


def test_realtime_never_lands_on_spot_and_batch_does_and_falls_back_when_there_is_none(pools: Service) -> None:
    on: dict[str, set[int]] = {"gpu_realtime": set(), "gpu_batch": set()}

    async def both(first_seed: int) -> tuple[set[int], set[int]]:
        """Who made the real-time ones, and who the batch ones."""
        seeds = itertools.count(first_seed)
        async with pools.client() as client:
            realtime = [sound(client, next(seeds)) for _ in range(4)] + [job(client, next(seeds), "realtime")]
            batch = [job(client, next(seeds)) for _ in range(4)]
            made = await asyncio.gather(*realtime, *batch)
        makers = [set(pools.makers(each)) for each in made]
        return set().union(*makers[: len(realtime)]), set().union(*makers[len(realtime) :])

    async def scenario() -> None:
        watching = asyncio.create_task(seen(pools, on))
        realtime, batch = await both(100)
        assert realtime <= on["gpu_realtime"]
        assert batch
        assert batch <= on["gpu_batch"]
        gone(pools.fleet.of("gpu_batch"))
        realtime, batch = await both(200)
        assert realtime | batch <= on["gpu_realtime"]
        assert not realtime & batch, "pools stay apart on nodes that both use"
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        pools.fleet.add("gpu_batch")

    asyncio.run(scenario())


def test_a_spike_grows_the_pool_to_its_bound_and_back_with_one_change_of_direction(pools: Service) -> None:
    """No request is lost in going down: some are made while replicas end."""
    counts = [pools.running(REALTIME)]
    assert counts == [1]

    async def scenario() -> None:
        async def watch() -> None:
            while True:
                now = await asyncio.to_thread(pools.running, REALTIME)
                if now != counts[-1]:
                    counts.append(now)
                await asyncio.sleep(0.2)

        watching = asyncio.create_task(watch())
        async with pools.client() as client:
            await asyncio.gather(*(sound(client, seed, 20) for seed in range(300, 324)))
            assert max(counts) == 2
            seeds = itertools.count(400)
            while counts[-1] != 1:
                await sound(client, next(seeds), 2)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    asyncio.run(scenario())
    assert counts == [1, 2, 1]


def test_a_pool_without_a_replica_starts_one_for_the_first_request(pools: Service) -> None:
    async def scenario() -> None:
        await until(lambda: pools.running(BATCH) == 0)
        async with pools.client() as client:
            await job(client, 500)
        assert pools.running(BATCH) == 1

    asyncio.run(scenario())


def test_targets_and_bounds_are_tuned_without_a_restart(pools: Service) -> None:
    """By a deploy file whose `deployments` say otherwise than its `args`."""
    before = pools.replicas(REALTIME)
    content = yaml.safe_load(pools.file.read_text())
    tuned = {"user_config": {"target_load": 0.05, "target_wait_s": 1}}
    content["applications"][0]["deployments"] = [{"name": REALTIME, **tuned}]
    pools.file.write_text(yaml.safe_dump(content))
    pools.fleet.deploy(pools.file)

    async def scenario() -> None:
        async with pools.client() as client:
            seeds = itertools.count(600)
            # One at a time is one slot of four: more than a twentieth, and no reason for a second replica before.
            while await asyncio.to_thread(pools.running, REALTIME) != 2:
                await sound(client, next(seeds), 20)

    asyncio.run(scenario())
    assert before < pools.replicas(REALTIME), "nobody was started again"
