"""Jobs in a real PostgreSQL that is restarted in the middle of everything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray import serve

from tests.postgresql import PostgresqlServer
from tests.service.conftest import RunningService, recorded_build, settings
from tests.service.submitted import digest, ended, sound
from tests.tiny import tiny_checkpoint

APP = "postgresql"
NUM_SUBMITTERS = 5
JOBS_EACH = 8


@pytest.fixture(scope="module")
def service_on_postgresql(
    ray_cluster: int, frames: Path, postgresql: PostgresqlServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("postgresql")
    args = settings(tiny_checkpoint(folder / "tiny", ratios=(4, 4, 4, 5)), folder)
    args["records"] = {"url": postgresql.url("jobs"), "lease_s": 5.0, "timeout_s": 1.0}
    serve.run(recorded_build(args), name=APP, route_prefix=f"/{APP}")
    url = f"http://127.0.0.1:{ray_cluster}/{APP}"
    yield RunningService(url, lambda name: serve.get_deployment_handle(name, APP), frames, folder)
    serve.delete(APP)


def body(seed: int) -> dict[str, Any]:
    return {"prompt": "a restart", "music_length_ms": 3_000, "seed": seed}


@pytest.mark.slow
def test_no_job_is_lost_and_none_is_doubled_when_postgresql_is_restarted_under_load(
    service_on_postgresql: RunningService, postgresql: PostgresqlServer
) -> None:
    refused: list[httpx.Response] = []

    async def submitter(client: httpx.AsyncClient, number: int) -> dict[int, str]:
        """The ids of its jobs by seed; what is refused is asked again with the same key."""
        ids: dict[int, str] = {}
        for i in range(JOBS_EACH):
            seed = 100 * number + i
            while seed not in ids:
                response = await client.post(
                    "/v1/generations", json=body(seed), headers={"Idempotency-Key": f"seed {seed}"}
                )
                if response.status_code in (200, 202):
                    ids[seed] = response.json()["id"]
                else:
                    refused.append(response)
                    await asyncio.sleep(0.2)
        return ids

    async def scenario() -> None:
        async with service_on_postgresql.client() as client:
            submitting = [asyncio.create_task(submitter(client, i)) for i in range(NUM_SUBMITTERS)]
            await asyncio.sleep(0.5)
            await asyncio.to_thread(postgresql.stop)
            # What needs no record is served as ever.
            music = await client.post("/v1/music", json=body(77_777))
            assert music.status_code == 200, music.text
            needs_records = await client.get("/v1/generations")
            assert needs_records.status_code == 503
            assert int(needs_records.headers["Retry-After"]) > 0
            await asyncio.to_thread(postgresql.start)
            jobs = {seed: job_id for ids in await asyncio.gather(*submitting) for seed, job_id in ids.items()}
            assert {response.status_code for response in refused} <= {503}
            assert all(int(response.headers["Retry-After"]) > 0 for response in refused)
            assert len(set(jobs.values())) == NUM_SUBMITTERS * JOBS_EACH
            for job_id in jobs.values():
                assert (await ended(client, job_id))["state"] == "succeeded"
            listed: list[str] = []
            page = "/v1/generations?limit=100"
            answer = (await client.get(page)).json()
            listed = [each["id"] for each in answer["generations"]]
            assert sorted(listed) == sorted(jobs.values())
            for seed in (0, 100 * NUM_SUBMITTERS - 100 + JOBS_EACH - 1):
                alone = await client.post("/v1/music", json={**body(seed), "cache": "off"})
                assert digest(await sound(client, jobs[seed])) == digest(alone.content)

    asyncio.run(scenario())
