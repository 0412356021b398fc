"""As on a cluster: records in a real PostgreSQL, limits in a real Redis, API keys required, two of each replica."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray import serve

from tests.postgresql import PostgresqlServer
from tests.redis_server import RedisServer
from tests.service.conftest import REQUEST_TIMEOUT_S, RunningService, build_with_recording, settings
from tests.service.support.job_client import digest, fetch_sound, wait_until_ended
from tests.tiny import tiny_checkpoint

APP = "shared"
NUM_SUBMITTERS = 5
JOBS_EACH = 8
AUDIO_S_PER_MINUTE = 300


@dataclass(frozen=True)
class Shared(RunningService):
    """keys: API keys of the tenants, by name."""

    keys: Mapping[str, str]

    def client_of(self, tenant: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.keys[tenant]}"}
        return httpx.AsyncClient(base_url=self.url, timeout=REQUEST_TIMEOUT_S, trust_env=False, headers=headers)


def made_key(records: str, tenant: str) -> str:
    """As an operator makes one."""
    command = [sys.executable, "-m", "serve_app.cli.main", "keys", "make", "--records", records, "--tenant", tenant]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout.strip()


@pytest.fixture(scope="module")
def shared(
    ray_cluster: int,
    frames: Path,
    postgresql: PostgresqlServer,
    redis_server: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Shared]:
    """Two of ingress, pipeline and language model; records in PostgreSQL, limits in Redis, keys required."""
    folder = tmp_path_factory.mktemp("shared")
    records = postgresql.url("shared")
    args = settings(tiny_checkpoint(folder / "tiny", ratios=(4, 4, 4, 5)), folder, number=2)
    args["records"] = {"url": records, "lease_s": 5.0, "timeout_s": 1.0}
    limits = {"audio_s_per_minute": AUDIO_S_PER_MINUTE, "storage": redis_server.url}
    args["access"] = {"keys": "required", "limits": limits}
    keys = {tenant: made_key(records, tenant) for tenant in ("a", "b", "limited")}
    serve.run(build_with_recording(args), name=APP, route_prefix=f"/{APP}")
    url = f"http://127.0.0.1:{ray_cluster}/{APP}"
    yield Shared(url, lambda name: serve.get_deployment_handle(name, APP), frames, folder, keys)
    serve.delete(APP)


def body(seed: int) -> dict[str, Any]:
    return {"prompt": "a restart", "music_length_ms": 3_000, "seed": seed}


@pytest.mark.slow
def test_no_job_is_lost_and_none_is_doubled_when_postgresql_is_restarted_under_load(
    shared: Shared, postgresql: PostgresqlServer
) -> None:
    refused: list[httpx.Response] = []

    async def submitter(client: httpx.AsyncClient, number: int) -> dict[int, str]:
        """The ids of its jobs by seed; a refused request is retried with the same key."""
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
        async with shared.client_of("a") as client:
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
                assert (await wait_until_ended(client, job_id))["state"] == "succeeded"
            answer = (await client.get("/v1/generations?limit=100")).json()
            listed = [each["id"] for each in answer["generations"]]
            assert sorted(listed) == sorted(jobs.values())
            for seed in (0, 100 * NUM_SUBMITTERS - 100 + JOBS_EACH - 1):
                alone = await client.post("/v1/music", json={**body(seed), "cache": "off"})
                assert digest(await fetch_sound(client, jobs[seed])) == digest(alone.content)

    asyncio.run(scenario())


@pytest.mark.slow
def test_a_limit_holds_over_two_ingress_replicas_and_without_redis_all_are_let_through(
    shared: Shared, redis_server: RedisServer
) -> None:
    async def ask(client: httpx.AsyncClient, number: int) -> httpx.Response:
        music = {"prompt": "a share", "music_length_ms": 10_000, "seed": 1}  # made once, charged each time
        response = await client.post("/v1/music", json=music)
        if response.status_code == 429:
            assert response.json()["error"]["type"] == "over_limit"
            assert int(response.headers["Retry-After"]) > 0
            assert response.headers["X-RateLimit-Limit"] == str(AUDIO_S_PER_MINUTE)
        return response

    async def scenario() -> None:
        async with shared.client_of("limited") as client, shared.client_of("b") as other:
            assert (await ask(other, 0)).status_code == 200
            statuses = [(await ask(client, number)).status_code for number in range(4)]
            more = AUDIO_S_PER_MINUTE // 10 + 10 - len(statuses)
            statuses += [each.status_code for each in await asyncio.gather(*(ask(client, i) for i in range(more)))]
            assert (statuses.count(200), statuses.count(429)) == (AUDIO_S_PER_MINUTE // 10, 10)
            assert (await ask(other, 0)).status_code == 200, "another key has a share of its own"
            redis_server.stop()
            try:
                assert (await ask(client, 0)).status_code == 200
            finally:
                redis_server.start()

    asyncio.run(scenario())


@pytest.mark.slow
def test_tenants_of_a_running_service_see_their_own_only(shared: Shared) -> None:
    async def scenario() -> None:
        async with shared.client_of("a") as a, shared.client_of("b") as b, shared.client() as nobody:
            submitted = await a.post("/v1/generations", json=body(900))
            assert submitted.status_code == 202
            job_id = submitted.json()["id"]
            await wait_until_ended(a, job_id)
            for path in ("", "/events", "/audio"):
                theirs = await b.get(f"/v1/generations/{job_id}{path}")
                nothing = await b.get(f"/v1/generations/{'0' * 32}{path}")
                assert (theirs.status_code, theirs.content) == (404, nothing.content)
                unknown = await nobody.get(f"/v1/generations/{job_id}{path}")
                assert unknown.status_code == 401
            assert (await b.delete(f"/v1/generations/{job_id}")).status_code == 404
            assert job_id not in (await b.get("/v1/generations")).text
            first, second = [await each.post("/v1/music?output_format=pcm", json=body(901)) for each in (a, b)]
            assert (first.headers["X-Cache"], second.headers["X-Cache"]) == ("miss", "miss")
            assert first.content == second.content
            assert first.headers["X-Generation-Id"] != second.headers["X-Generation-Id"]

    asyncio.run(scenario())
