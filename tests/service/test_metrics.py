"""Every metric of the list in a live service: at /metrics, at Ray's own agents, and in a Prometheus that reads both."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import ray
import yaml
from prometheus_client.parser import text_string_to_metric_families

from deployments.telemetry.metric import PREFIX
from serve_app.telemetry.catalogue import METRICS
from serve_app.telemetry.metrics_page import parse_samples
from serve_app.telemetry.service_metrics import SCRAPED_NODES
from tests.monitoring.files import DASHBOARD, PROMETHEUS, RULES, expressions_of_panels, needs
from tests.ports import free_port
from tests.server_process import ServerProcess
from tests.service.conftest import RunningService

PATIENCE_S = 60.0
EVERYTHING = {metric.name for metric in METRICS}


@dataclass(frozen=True)
class Scrape:
    """Names of the metrics that have a value."""

    page: set[str]
    agents: set[str]


async def traffic(service: RunningService) -> None:
    """Something of everything: made, kept, extended, streamed, refused, a job, and a broken entry of the cache."""
    body = {"prompt": "metrics, please", "music_length_ms": 1000}
    async with service.client() as client:
        for fields in ({}, {}, {"music_length_ms": 1500}, {"music_length_ms": -1}):
            await client.post("/v1/music", json={**body, **fields})
        streamed = await client.post("/v1/music/stream", json={**body, "seed": 5})
        assert streamed.status_code == 200
        job = (await client.post("/v1/generations", json={**body, "seed": 6})).json()
        for alias in (service.folder / "cache").rglob("alias/**/*"):
            if alias.is_file():
                alias.write_bytes(b"broken")
        await client.post("/v1/music", json=body)
        while (await client.get(f"/v1/generations/{job['id']}")).json()["state"] not in ("succeeded", "failed"):
            await asyncio.sleep(0.1)


async def scraped(service: RunningService) -> Scrape:
    """What there is, once the figures of the traffic have been told; Ray's processes do so every ten seconds."""
    wanted, found = EVERYTHING, Scrape(set(), set())
    deadline = time.monotonic() + PATIENCE_S
    async with service.client() as client:
        while found.page != wanted and time.monotonic() < deadline:
            await asyncio.sleep(0.5)
            page = await client.get("/metrics")
            assert page.status_code == 200
            families = text_string_to_metric_families(page.text)
            names = {each.name for each in families for _ in each.samples}
            found = Scrape({name for name in wanted if name.removesuffix("_total") in names}, await at_agents(client))
    return found


async def at_agents(client: httpx.AsyncClient) -> set[str]:
    urls = [f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics" for node in ray.nodes()]
    pages = await asyncio.gather(*(client.get(url) for url in urls))
    return {sample.metric.name for page in pages for sample in parse_samples(page.content, "any")}


@contextlib.contextmanager
def prometheus(folder: Path, service_url: str) -> Iterator[str]:
    """A real one, with the files of monitoring/, a shorter interval, and the service's own page as a second source."""
    port = free_port()
    targets = [f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}" for node in ray.nodes()]
    (folder / "nodes.json").write_text(json.dumps([{"labels": {"job": "ray"}, "targets": targets}]))
    settings = yaml.safe_load(PROMETHEUS.read_text())
    settings["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    settings["rule_files"] = [str(RULES)]
    (ray_job,) = settings["scrape_configs"]
    ray_job["file_sd_configs"][0]["files"] = [str(folder / "nodes.json")]
    own = {"job_name": "page", "static_configs": [{"targets": [service_url.removeprefix("http://")]}]}
    settings["scrape_configs"].append(own)
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(settings))
    program = shutil.which("prometheus")
    assert program is not None
    command = [program, f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}"]
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{url}/-/ready", trust_env=False).is_success
        return False

    process = ServerProcess([*command, f"--web.listen-address=127.0.0.1:{port}"], folder / "prometheus.log", answers)
    try:
        process.start()
        yield url
    finally:
        process.close()


async def names_by_job(client: httpx.AsyncClient, job: str) -> set[str]:
    answer = await client.get("/api/v1/label/__name__/values", params={"match[]": f'{{job="{job}"}}'})
    return set(answer.json()["data"])


def plain(name: str) -> str:
    """A metric's name, of that of one of its parts."""
    for part in ("_bucket", "_count", "_sum"):
        if name.removesuffix(part) in EVERYTHING:
            return name.removesuffix(part)
    return name


async def ours_by_job(client: httpx.AsyncClient) -> dict[str, set[str]]:
    """The metrics with our prefix, whether in the list or not, that each of the two sources has."""
    found = {job: await names_by_job(client, job) for job in ("ray", "page")}
    return {job: {plain(name) for name in names if name.startswith(PREFIX)} for job, names in found.items()}


async def rules(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    groups = (await client.get("/api/v1/rules")).json()["data"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


async def query(client: httpx.AsyncClient, expression: str) -> list[Any]:
    answer = (await client.get("/api/v1/query", params={"query": expression})).json()
    assert answer["status"] == "success", (expression, answer)
    return list(answer["data"]["result"])


async def without_figures(client: httpx.AsyncClient) -> list[str]:
    """Recorded rules and panels that have none."""
    recorded = [rule["name"] for rule in await rules(client) if rule["type"] == "recording"]
    return [each for each in [*recorded, *expressions_of_panels(DASHBOARD)] if not await query(client, each)]


def test_every_metric_of_the_list_is_in_a_live_scrape_and_a_prometheus_reads_them_all(
    service: RunningService, tmp_path: Path
) -> None:
    needs("prometheus")

    async def scenario() -> None:
        await traffic(service)
        found = await scraped(service)
        assert EVERYTHING - found.page == set()
        assert EVERYTHING - found.agents == {SCRAPED_NODES.name}
        with prometheus(tmp_path, service.url) as url:
            async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
                wanted = {"page": EVERYTHING, "ray": EVERYTHING - {SCRAPED_NODES.name}}
                deadline, lacking = time.monotonic() + PATIENCE_S, ["all"]
                while (lacking or await ours_by_job(client) != wanted) and time.monotonic() < deadline:
                    await asyncio.sleep(0.5)
                    lacking = await without_figures(client)
                assert await ours_by_job(client) == wanted
                assert lacking == []
                assert [rule for rule in await rules(client) if rule["health"] != "ok"] == []
                assert [rule["name"] for rule in await rules(client) if rule.get("state") == "firing"] == []

    asyncio.run(scenario())
