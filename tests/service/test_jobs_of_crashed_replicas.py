"""Jobs whose processes crash or are suspended end with the bytes of an undisturbed run."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.service.conftest import PAIR as APP
from tests.service.conftest import RunningService, processes
from tests.service.support.job_client import (
    digest,
    fetch_sound,
    is_writable,
    lease_holder,
    recorded_generation_of,
    submit,
    wait_until_ended,
)
from tests.service.support.recording_model import recorded_generations
from tests.service.support.two_replicas import all_up, largest_window, num_made_again, until, until_async

pytestmark = pytest.mark.slow

FRAMES = 1500
DEPLOYMENTS = ("tiny-language-model", "pipeline", "ingress")


def records_of(pair: RunningService) -> Path:
    """SQLite's file."""
    return pair.folder / "records.sqlite"


def body(seed: int, **fields: Any) -> dict[str, Any]:
    return {"prompt": "a march of jobs", "music_length_ms": 20 * FRAMES, "seed": seed, **fields}


async def undisturbed(client: httpx.AsyncClient, seed: int) -> str:
    """The digest of the same music, made in one go for one who waits."""
    response = await client.post("/v1/music", json=body(seed, cache="off"))
    assert response.status_code == 200, response.text
    return digest(response.content)


async def begun(pair: RunningService, before: set[str], at: int) -> None:
    """Returns when a generation that was not among those `before` has so many frames, and not all."""

    def is_there() -> bool:
        made = (made for name, made in recorded_generations(pair.frames).items() if name not in before)
        return any(at <= len(each.frames) for each in made)

    await until(is_there)


async def kill_in_rounds(pair: RunningService, victims: list[str], at_once: int, first_seed: int) -> None:
    """For each victim: jobs at once, in the middle of which one of its processes is killed."""
    draw = random.Random(first_seed)
    async with pair.client() as client:
        for round_number, victim in enumerate(victims):
            before = set(recorded_generations(pair.frames))
            seeds = [first_seed + 100 * round_number + i for i in range(at_once)]
            ids = [await submit(client, f"{victim}-{seed}", **body(seed)) for seed in seeds]
            await begun(pair, before, draw.randrange(1, FRAMES - 300))
            with contextlib.suppress(psutil.NoSuchProcess):
                draw.choice(processes(APP, victim)).send_signal(signal.SIGKILL)
            jobs = [await wait_until_ended(client, job_id) for job_id in ids]
            assert [job["state"] for job in jobs] == ["succeeded"] * len(jobs), jobs
            made = [recorded_generation_of(pair.frames, job) for job in jobs]
            for each in made:
                assert set(each.frames) == set(range(FRAMES))
                assert num_made_again(each.frames) <= largest_window(FRAMES), (victim, each)
            digests = [digest(await fetch_sound(client, job_id)) for job_id in ids]
            assert digests == await asyncio.gather(*(undisturbed(client, seed) for seed in seeds)), victim
            await all_up(APP, victim)


def test_twenty_jobs_end_with_the_same_bytes_whichever_process_is_killed(pair: RunningService) -> None:
    victims = [*DEPLOYMENTS, *random.Random(20).choices(DEPLOYMENTS, k=2)]
    asyncio.run(kill_in_rounds(pair, victims, at_once=4, first_seed=20_000))


def test_a_worker_suspended_beyond_its_lease_is_fenced_when_it_resumes(pair: RunningService) -> None:
    async def stopped_at_work(client: httpx.AsyncClient) -> tuple[int, str, psutil.Process]:
        """The seed and id of a job, and the process that was making it when it was stopped."""
        for seed in range(30_000, 30_010):
            before = set(recorded_generations(pair.frames))
            job_id = await submit(client, f"suspended {seed}", **body(seed))
            await begun(pair, before, 20)
            stopped = lease_holder(records_of(pair), job_id)
            if stopped is not None:
                stopped.suspend()
                # One that is stopped in the middle of a write holds SQLite's lock for as long.
                if lease_holder(records_of(pair), job_id) == stopped and is_writable(records_of(pair)):
                    return seed, job_id, stopped
                stopped.resume()
        raise AssertionError("every job was made before its maker could be stopped")

    async def scenario() -> None:
        async with pair.client() as client:
            seed, job_id, stopped = await stopped_at_work(client)
            try:
                # Another has it once the lease is over.
                await until(lambda: lease_holder(records_of(pair), job_id) not in (stopped, None))
            finally:
                with contextlib.suppress(psutil.NoSuchProcess):  # Serve may have replaced it
                    stopped.resume()
            job = await wait_until_ended(client, job_id)
            assert job["state"] == "succeeded"
            assert digest(await fetch_sound(client, job_id)) == await undisturbed(client, seed)
            made = recorded_generation_of(pair.frames, job)
            assert num_made_again(made.frames) <= FRAMES + largest_window(FRAMES), "not made twice to its end"

    asyncio.run(scenario())


def test_a_cancelled_job_frees_its_slot_and_one_that_ended_can_be_removed(pair: RunningService) -> None:
    async def scenario() -> None:
        async with pair.client() as client:
            before = set(recorded_generations(pair.frames))
            job_id = await submit(client, "cancelled", **body(40_000))
            await begun(pair, before, 10)
            cancelled = await client.delete(f"/v1/generations/{job_id}")
            assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")

            async def all_free() -> bool:
                loads = [await pair.handle("pipeline").load.remote() for _ in range(4)]
                return not any(loads)

            await until_async(all_free)
            assert (await client.get(f"/v1/generations/{job_id}")).json()["state"] == "cancelled"
            assert (await client.delete(f"/v1/generations/{job_id}")).status_code == 204
            assert (await client.get(f"/v1/generations/{job_id}")).status_code == 404

    asyncio.run(scenario())


def test_variations_are_what_their_seeds_make(pair: RunningService) -> None:
    async def scenario() -> None:
        async with pair.client() as client:
            job_id = await submit(client, "variations", **body(50_000, music_length_ms=2_000, variations=3))
            job = await wait_until_ended(client, job_id)
            assert [each["seed"] for each in job["variations"]] == [50_000, 50_001, 50_002]
            for number, seed in enumerate((50_000, 50_001, 50_002)):
                alone = await client.post("/v1/music", json=body(seed, music_length_ms=2_000, cache="off"))
                assert await fetch_sound(client, job_id, variation=number) == alone.content

    asyncio.run(scenario())
