"""A job's sound is listened to before the job has ended, and no job fails for it; in virtual time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deployments.messages import MusicRequest, Outcome, Resumption
from serve_app.errors import Gone, WorkerLostTwice
from serve_app.job import ENDED, Job, SoundHealth
from serve_app.jobs.maker import HEALTH_TIMEOUT_S, JobHealthMeter
from tests.serve_app.jobs.examples import FRAMES, request, start, submission
from tests.serve_app.jobs.replicas import CHUNK, CHUNK_S, Cluster
from tests.serve_app.pipeline.scripted_stages import codes_of
from tests.serve_app.tenants.sounds_made import SoundsMade
from tests.virtual_time import run

HEALTH = SoundHealth(0.25, 0.0, 0.1, 0.9, collapsed=False)
HEAR_S = 3.0


class Ears:
    """Takes its time, or fails as a test says. heard: the codes of each clip that was listened to."""

    def __init__(self, error: Exception | None = None, hear_s: float = HEAR_S) -> None:
        self.heard: list[np.ndarray] = []
        self._error = error
        self._hear_s = hear_s

    async def sound_health(self, asked: MusicRequest, made: Resumption) -> SoundHealth:
        assert asked.duration_ms == 6000
        await asyncio.sleep(self._hear_s)
        if self._error is not None:
            raise self._error
        self.heard.append(made.codes)
        return HEALTH


async def ended(cluster: Cluster, job: Job) -> Job:
    while True:
        found = cluster.table.find(job.tenant, job.id)
        assert found is not None
        if found.state in ENDED:
            return found
        assert all(each.health is None for each in found.variations if each.state == "running")
        await asyncio.sleep(0.1)


def scenario(
    tmp_path: Path, ears: Ears, sounds_made: SoundsMade, befall: Callable[[Cluster], None] = lambda _: None
) -> Job:
    """One job as it has ended; what is to befall its cluster does so when half of it is made."""

    async def whole() -> Job:
        cluster = Cluster(tmp_path / "records.sqlite", health_meter=JobHealthMeter(ears.sound_health, sounds_made))
        try:
            cluster.start()
            job, _ = await cluster.jobs[0].submit(submission(seeds=(5,)))
            await asyncio.sleep(FRAMES / CHUNK * CHUNK_S / 2)
            befall(cluster)
            job = await ended(cluster, job)
            await asyncio.sleep(1)
            cluster.table.check_integrity()
            await cluster.stop(len(cluster.runners) - 1)
            return job
        finally:
            cluster.close()

    return run(whole())


def test_the_record_says_how_it_sounds_when_it_says_that_it_is_made(tmp_path: Path) -> None:
    ears, sounds_made = Ears(), SoundsMade()
    (variation,) = scenario(tmp_path, ears, sounds_made).variations
    assert (variation.state, variation.health) == ("succeeded", HEALTH)
    assert sounds_made.told == [("tiny", 6.0, HEALTH)]
    np.testing.assert_array_equal(ears.heard, [codes_of(5, FRAMES)])


def test_another_who_goes_on_listens_to_the_whole(tmp_path: Path) -> None:
    def befall(cluster: Cluster) -> None:
        cluster.kill(0)
        cluster.start()

    ears, sounds_made = Ears(), SoundsMade()
    (variation,) = scenario(tmp_path, ears, sounds_made, befall).variations
    assert (variation.attempts, variation.health) == (2, HEALTH)
    assert len(sounds_made.told) == 1
    np.testing.assert_array_equal(ears.heard, [codes_of(5, FRAMES)])


@pytest.mark.parametrize(
    "ears",
    [Ears(WorkerLostTwice()), Ears(Gone("another model")), Ears(hear_s=10 * HEALTH_TIMEOUT_S)],
    ids=["kills codecs", "another model", "no answer"],
)
def test_what_can_not_be_listened_to_has_succeeded_all_the_same(
    tmp_path: Path, ears: Ears, caplog: pytest.LogCaptureFixture
) -> None:
    sounds_made = SoundsMade()
    with caplog.at_level(logging.WARNING, "ray.serve.jobs"):
        (variation,) = scenario(tmp_path, ears, sounds_made).variations
    assert (variation.state, variation.health, variation.attempts) == ("succeeded", None, 1)
    assert not sounds_made.told
    assert len(caplog.records) == 1


def test_codes_that_are_no_sound_are_no_success(tmp_path: Path) -> None:
    sounds_made = SoundsMade()
    job = scenario(tmp_path, Ears(ValueError("pcm must be finite")), sounds_made)
    assert (job.state, job.variations[0].health) == ("failed", None)
    assert not sounds_made.told


@pytest.mark.parametrize(("outcome", "number"), [("miss", 1), ("extended", 1), ("hit", 0), ("cut", 0), ("joined", 0)])
def test_only_what_a_job_had_made_is_counted_as_made(outcome: Outcome, number: int) -> None:
    sounds_made = SoundsMade()
    begun = start()
    made = Resumption(type(begun)(begun.key, begun.seed, outcome, begun.identity), codes_of(1, FRAMES))
    health_meter = JobHealthMeter(Ears().sound_health, sounds_made)
    health_meter.report(request(), made, HEALTH)
    health_meter.report(request(), made, None)
    assert len(sounds_made.told) == number
