"""The whole cluster crashes at once, as in a power loss, and is started again: jobs resume from their codes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from deployments.paths import ROOT
from serve_app.cli.options import DEFAULT_CONFIG
from serve_app.launcher.guardian import MARK, Guardian, marked
from serve_app.launcher.service import Service
from tests.ports import free_port
from tests.service.support.job_client import digest, fetch_sound, request_with_retries, submit, wait_until_ended

NUM_JOBS = 4


@contextlib.contextmanager
def run_of(config: Path) -> Iterator[tuple[str, str]]:
    """The service of a deploy file: its address, and the mark that all of its processes carry."""
    folder = Path(tempfile.mkdtemp(prefix="musicgen-", dir="/tmp"))  # Ray's sockets want a short path
    with contextlib.ExitStack() as closing, Guardian(folder, None) as guardian:
        service = Service(config, None, 1, folder, guardian.environment)
        closing.callback(service.close)  # after the guardian has ended it
        yield service.wait_until_ready(lambda _: None), guardian.environment[MARK]


def body(seed: int) -> dict[str, object]:
    return {"prompt": "a march before the lights go out", "music_length_ms": 30_000, "seed": seed, "cache": "off"}


@pytest.mark.slow
def test_jobs_of_a_crashed_cluster_end_after_it_is_started_again(tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / DEFAULT_CONFIG).read_text())
    content["http_options"]["port"] = free_port()
    content["applications"][0]["args"] |= {
        "cache": {"store": {"kind": "folder", "folder": str(tmp_path / "cache")}},
        "records": {"url": f"sqlite:///{tmp_path}/records.sqlite", "lease_s": 5.0, "timeout_s": 1.0},
    }
    config = tmp_path / "deploy.yaml"
    config.write_text(yaml.safe_dump(content))

    async def first(url: str, mark: str) -> list[str]:
        async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) as client:
            ids = [await submit(client, f"lights {i}", **body(i)) for i in range(NUM_JOBS)]
            while True:
                jobs = [(await request_with_retries(client, "GET", f"/v1/generations/{each}")).json() for each in ids]
                if sum(job["progress"] for job in jobs) > 0.3 * NUM_JOBS:
                    break
            assert any(job["state"] == "running" for job in jobs)
            for process in marked(mark):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)
            return ids

    async def second(url: str, ids: list[str]) -> None:
        async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) as client:
            for seed, job_id in enumerate(ids):
                job = await wait_until_ended(client, job_id)
                assert job["state"] == "succeeded", job
                undisturbed = await client.post("/v1/music", json=body(seed))
                assert digest(await fetch_sound(client, job_id)) == digest(undisturbed.content)

    with run_of(config) as (url, mark):
        ids = asyncio.run(first(url, mark))
    with run_of(config) as (url, _):
        asyncio.run(second(url, ids))
