"""Jobs end, each once, with the codes of its seed, whatever befalls those who make them; in virtual time."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from serve_app.errors import DeadlineExceeded, TooBusy, WorkerLostTwice
from serve_app.job import ENDED, Job
from serve_app.pipeline.pipeline import EngineGone
from serve_app.settings.application import JobsSettings
from tests.serve_app.jobs.examples import FRAMES, request, submission
from tests.serve_app.jobs.replicas import CHUNK, CHUNK_S, LEASE_S, Cluster
from tests.serve_app.pipeline.scripted_stages import codes_of
from tests.virtual_time import run

DURATION_S = FRAMES / CHUNK * CHUNK_S


def scenario(
    tmp_path: Path, body: Callable[[Cluster], Awaitable[None]], settings: JobsSettings | None = None, replicas: int = 2
) -> None:
    async def whole() -> None:
        cluster = Cluster(tmp_path / "records.sqlite", settings)
        try:
            for _ in range(replicas):
                cluster.start()
            await body(cluster)
            for number in range(len(cluster.runners)):
                await cluster.stop(number)
        finally:
            cluster.close()

    run(whole())


async def ended(cluster: Cluster, job: Job) -> Job:
    while True:
        found = cluster.table.find(job.tenant, job.id)
        assert found is not None
        if found.state in ENDED:
            return found
        await asyncio.sleep(0.1)


def check_codes(cluster: Cluster, job: Job) -> None:
    for variation in job.variations:
        made = cluster.table.made(job.tenant, job.id, variation.number)
        assert made is not None
        assert variation.seed == made.start.seed
        assert np.array_equal(made.codes, codes_of(made.start.seed, FRAMES))


def test_a_job_is_made_once_though_two_replicas_look_for_it(tmp_path: Path) -> None:
    async def body(cluster: Cluster) -> None:
        job, _ = await cluster.jobs[0].submit(submission(seeds=(5, 6, 7)))
        job = await ended(cluster, job)
        assert job.state == "succeeded"
        assert [each.attempts for each in job.variations] == [1, 1, 1]
        check_codes(cluster, job)
        assert all(set(cluster.model.made[seed].values()) == {1} for seed in (5, 6, 7))

    scenario(tmp_path, body)


def test_the_log_leads_from_a_job_and_its_request_to_what_was_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(cluster: Cluster) -> None:
        job, _ = await cluster.jobs[0].submit(submission(seeds=(5, 6)))
        job = await ended(cluster, job)
        lines = [vars(record) for record in caplog.records if record.name == "ray.serve.jobs"]
        assert {line["job"] for line in lines} == {job.id}
        begun = [line for line in lines if line["event"] == "job_begun"]
        assert [(line["attempt"], line["frame"], line["num_frames"]) for line in begun] == [(1, 0, FRAMES)] * 2
        assert {line["request_id"] for line in begun} == {job.request.request_id}
        made = {line["variation"]: line["generation"] for line in lines if line["event"] == "job_made"}
        assert made == {each.number: str(each.generation)[:32] for each in job.variations}

    with caplog.at_level(logging.INFO, "ray.serve.jobs"):
        scenario(tmp_path, body)


def test_a_seed_that_was_drawn_stays_with_the_job_when_another_goes_on(tmp_path: Path) -> None:
    async def body(cluster: Cluster) -> None:
        job, _ = await cluster.jobs[0].submit(submission(seeds=(None,)))
        await asyncio.sleep(DURATION_S / 2)
        cluster.kill(0)
        job = await ended(cluster, job)
        assert [each.seed for each in job.variations] == [424_242]
        check_codes(cluster, job)

    scenario(tmp_path, body)


@pytest.mark.parametrize("is_orderly", [False, True])
def test_another_goes_on_from_the_codes_that_were_saved(tmp_path: Path, is_orderly: bool) -> None:
    async def body(cluster: Cluster) -> None:
        cluster.start()
        job, _ = await cluster.jobs[0].submit(submission(seeds=(5,)))
        await asyncio.sleep(DURATION_S / 2)
        cluster.start()
        if is_orderly:
            await cluster.stop(0)
        else:
            cluster.kill(0)
        began_s = asyncio.get_running_loop().time()
        job = await ended(cluster, job)
        assert (job.state, job.variations[0].attempts) == ("succeeded", 2)
        check_codes(cluster, job)
        assert sum(cluster.model.made[5].values()) - FRAMES <= CHUNK
        took_s = asyncio.get_running_loop().time() - began_s
        assert took_s <= DURATION_S + 2 + (0 if is_orderly else LEASE_S)

    scenario(tmp_path, body, replicas=0)


def test_one_who_was_held_up_beyond_its_lease_changes_nothing_when_it_wakes(tmp_path: Path) -> None:
    async def body(cluster: Cluster) -> None:
        job, _ = await cluster.jobs[0].submit(submission(seeds=(5,)))
        await asyncio.sleep(DURATION_S / 3)
        held_up = next(t for t, runner in zip(cluster.threads, cluster.runners, strict=True) if len(runner))
        held_up.is_down = True  # it goes on making, and nothing of it comes into the database
        job = await ended(cluster, job)
        held_up.is_down = False
        await asyncio.sleep(60)
        again = cluster.table.find(job.tenant, job.id)
        assert again == job
        check_codes(cluster, job)

    scenario(tmp_path, body)


def test_what_fails_is_tried_again_later_and_later_and_then_told(tmp_path: Path) -> None:
    async def body(cluster: Cluster) -> None:
        loop = asyncio.get_running_loop()
        cluster.model.fates[5] = [(0, DeadlineExceeded("too slow"))] * 2
        cluster.model.fates[6] = [(120, DeadlineExceeded("too slow"))] * 3
        job, _ = await cluster.jobs[0].submit(submission(seeds=(5, 6)))
        began_s = loop.time()
        job = await ended(cluster, job)
        assert [(each.state, each.attempts) for each in job.variations] == [("succeeded", 3), ("failed", 3)]
        assert job.variations[1].fault is not None
        assert job.variations[1].fault.type == "deadline_exceeded"
        assert loop.time() - began_s >= 0.75 * (2 + 4), "it waited before the second and the third attempt"
        # The codes of the first attempt were kept for the second.
        assert cluster.model.made[6][0] == 1

    scenario(tmp_path, body, JobsSettings(max_attempts=3, backoff_s=2))


def test_what_kills_its_workers_is_not_tried_again(tmp_path: Path) -> None:
    async def body(cluster: Cluster) -> None:
        cluster.model.fates[5] = [(60, WorkerLostTwice())]
        job, _ = await cluster.jobs[0].submit(submission(seeds=(5,)))
        job = await ended(cluster, job)
        (variation,) = job.variations
        assert (variation.state, variation.attempts) == ("failed", 1)
        assert variation.fault is not None
        assert variation.fault.type == "worker_lost_twice"

    scenario(tmp_path, body)


def test_a_full_queue_is_no_failure_however_often_it_is_met(tmp_path: Path) -> None:
    async def body(cluster: Cluster) -> None:
        cluster.model.fates[5] = [(0, TooBusy("full"))] * 30
        job, _ = await cluster.jobs[0].submit(submission(seeds=(5,)))
        job = await ended(cluster, job)
        assert (job.state, job.variations[0].attempts) == ("succeeded", 1)

    scenario(tmp_path, body, JobsSettings(max_attempts=2))


def test_when_its_kind_of_engine_is_gone_it_is_begun_again_from_the_first_frame(tmp_path: Path) -> None:
    async def body(cluster: Cluster) -> None:
        cluster.model.fates[5] = [(160, EngineGone("another kind"))]
        job, _ = await cluster.jobs[0].submit(submission(seeds=(5,)))
        job = await ended(cluster, job)
        assert job.state == "succeeded"
        assert cluster.model.made[5][0] == 2
        check_codes(cluster, job)

    scenario(tmp_path, body)


def test_a_cancelled_job_stops_within_a_moment_on_whichever_replica(tmp_path: Path) -> None:
    async def body(cluster: Cluster) -> None:
        for canceller in range(2):
            job, _ = await cluster.jobs[0].submit(submission(seeds=(5 + canceller,)))
            await asyncio.sleep(DURATION_S / 3)
            assert cluster.model.under_way == 1
            cancelled = await cluster.jobs[canceller].cancel(job.tenant, job.id)
            assert cancelled is not None
            assert cancelled.state == "cancelled"
            await asyncio.sleep(CHUNK_S + 1.1)
            assert cluster.model.under_way == 0
            assert cluster.table.find(job.tenant, job.id) == cancelled

    scenario(tmp_path, body)


def test_realtime_goes_first_and_has_places_of_its_own(tmp_path: Path) -> None:
    async def body(cluster: Cluster) -> None:
        batch = [(await cluster.jobs[0].submit(submission(seeds=(i,))))[0] for i in range(6)]
        await asyncio.sleep(CHUNK_S)
        assert cluster.model.under_way == 2
        realtime, _ = await cluster.jobs[0].submit(submission(request=request(50, queue="realtime"), seeds=(50,)))
        await asyncio.sleep(CHUNK_S)
        assert cluster.model.under_way == 3
        await ended(cluster, realtime)
        for job in batch:
            assert (await ended(cluster, job)).state == "succeeded"
        assert cluster.model.most_at_once == 3

    scenario(tmp_path, body, JobsSettings(max_running=3, reserved=1), replicas=1)


def test_an_outage_of_the_database_costs_no_frame_that_is_under_way(tmp_path: Path) -> None:
    async def body(cluster: Cluster) -> None:
        job, _ = await cluster.jobs[0].submit(submission(seeds=(5, 6)))
        await asyncio.sleep(DURATION_S / 3)
        cluster.set_down(True)
        await asyncio.sleep(DURATION_S)
        cluster.set_down(False)
        job = await ended(cluster, job)
        check_codes(cluster, job)
        for seed in (5, 6):
            assert set(cluster.model.made[seed].values()) == {1}

    scenario(tmp_path, body)


def test_what_has_ended_is_taken_away_after_its_time(tmp_path: Path) -> None:
    async def body(cluster: Cluster) -> None:
        job, _ = await cluster.jobs[0].submit(submission(seeds=(5,)))
        await ended(cluster, job)
        await asyncio.sleep(70)
        assert cluster.table.find(job.tenant, job.id) is not None
        await asyncio.sleep(130)
        assert cluster.table.find(job.tenant, job.id) is None

    scenario(tmp_path, body, JobsSettings(keep_s=100))


@pytest.mark.parametrize("seed", range(5))
def test_whatever_befalls_the_replicas_every_job_ends_with_its_codes(tmp_path: Path, seed: int) -> None:
    """Replicas die, end and come, and the database goes down and up, at random moments."""
    draw = random.Random(seed)

    async def body(cluster: Cluster) -> None:
        alive = {0, 1, 2}
        jobs = []
        for number in range(12):
            tenant, queue = draw.choice("ab"), draw.choice(("batch", "realtime"))
            new = submission(tenant, (100 * seed + number,), request=request(100 * seed + number, queue=queue))
            jobs.append((await cluster.jobs[min(alive)].submit(new))[0])
            await asyncio.sleep(draw.random())
            event = draw.randrange(4)
            if event == 0 and len(alive) > 1:
                victim = draw.choice(sorted(alive))
                alive.discard(victim)
                cluster.kill(victim)
            elif event == 1:
                alive.add(cluster.start())
            elif event == 2 and len(alive) > 1:
                victim = draw.choice(sorted(alive))
                alive.discard(victim)
                await cluster.stop(victim)
            elif event == 3:
                cluster.set_down(True)
                await asyncio.sleep(3 * draw.random())
                cluster.set_down(False)
        for job in jobs:
            at_its_end = await ended(cluster, job)
            assert at_its_end.state == "succeeded"
            check_codes(cluster, at_its_end)
        assert all(len(runner) == 0 for i, runner in enumerate(cluster.runners) if i in alive)

    scenario(tmp_path, body, JobsSettings(max_running=4, reserved=1), replicas=3)
