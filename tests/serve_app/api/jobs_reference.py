"""Jobs in a dictionary, made by whoever holds it: what the HTTP surface expects of a JobsBackend, at its simplest."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI

from deployments.messages import GenerationStart, MusicRequest, Resumption
from serve_app.api.app import create_app
from serve_app.api.backends import ComposedMusic, SoundFile
from serve_app.cache.keys import generation_key
from serve_app.errors import InvalidRequest, NotFound, TooBusy
from serve_app.job import ENDED, Fault, Job, Submission, Variation
from serve_app.settings.application import HttpSettings, JobsSettings
from tests.serve_app.api.service import IDENTITY, SineBackend, ask, sine

NUM_CODEBOOKS = 4
BODY = {"prompt": "a tone", "music_length_ms": 100}


class ReferenceJobs:
    """Nothing happens by itself: `begin`, `save`, `succeed` and `fail` are what a worker would do.

    now_s: the clock. seed_of_none: what a variation gets that has no seed.
    """

    def __init__(self, max_queued: int = 1000) -> None:
        self.now_s = 1_700_000_000.0
        self.seed_of_none = 4711
        self.max_queued = max_queued
        self.calls = 0
        self.submissions: list[Submission] = []
        self._jobs: dict[str, Job] = {}  # in the order of their making
        self._keys: dict[tuple[str, str], tuple[str, str]] = {}
        self._numbers = itertools.count(1)
        self._changed = asyncio.Event()

    # what the HTTP surface calls

    async def submit(self, submission: Submission) -> tuple[Job, bool]:
        self.calls += 1
        key = submission.tenant, submission.idempotency_key or ""
        if submission.idempotency_key is not None and key in self._keys:
            digest, job_id = self._keys[key]
            if digest != submission.body_digest:
                raise InvalidRequest("The key came before, with another body.", param="Idempotency-Key")
            return self._placed(self._jobs[job_id]), False
        mine = [job for job in self._jobs.values() if (job.tenant, job.state) == (submission.tenant, "queued")]
        if len(mine) >= self.max_queued:
            raise TooBusy("There are as many generations in the queue as there may be.")
        variations = tuple(
            Variation(number, "queued", seed, 0, submission.num_frames) for number, seed in enumerate(submission.seeds)
        )
        # In no order, as drawn ones are.
        job_id = f"{next(self._numbers) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}"
        job = Job(job_id, submission.tenant, submission.request, submission.request.queue, self.now_s, variations, 1)
        self.submissions.append(submission)
        self._jobs[job_id] = job
        if submission.idempotency_key is not None:
            self._keys[key] = submission.body_digest, job_id
        return self._placed(job), True

    async def is_known(self, tenant: str, idempotency_key: str) -> bool:
        self.calls += 1
        return (tenant, idempotency_key) in self._keys

    async def find(self, tenant: str, job_id: str) -> Job | None:
        self.calls += 1
        job = self._jobs.get(job_id)
        return None if job is None or job.tenant != tenant else self._placed(job)

    async def page(self, tenant: str, limit: int, before: str | None) -> Sequence[Job]:
        self.calls += 1
        newest_first = [self._placed(job) for job in reversed(self._jobs.values()) if job.tenant == tenant]
        if before is None:
            return newest_first[:limit]
        places = [place for place, job in enumerate(newest_first) if job.id == before]
        if not places:
            raise NotFound("There is no such job.")
        return newest_first[places[0] + 1 :][:limit]

    async def cancel(self, tenant: str, job_id: str) -> Job | None:
        job = await self.find(tenant, job_id)
        if job is None or job.state in ENDED:
            return job
        for variation in job.variations:
            if variation.state not in ENDED:
                self._put(job_id, variation.number, state="cancelled", ended_s=self.now_s)
        return self._jobs[job_id]

    async def remove(self, tenant: str, job_id: str) -> bool:
        job = await self.find(tenant, job_id)
        if job is None or job.state not in ENDED:
            return False
        del self._jobs[job_id]
        self._keys = {key: kept for key, kept in self._keys.items() if kept[1] != job_id}
        self._tell()
        return True

    async def follow(self, tenant: str, job_id: str, after: int = -1) -> AsyncGenerator[Job | None, None]:
        while True:
            changed = self._changed
            job = await self.find(tenant, job_id)
            if job is None:
                yield None
                return
            if job.version > after:
                after = job.version
                yield job
            if job.state in ENDED:
                return
            if changed is self._changed:
                await changed.wait()

    async def made(self, tenant: str, job_id: str, variation: int) -> Resumption | None:
        job = await self.find(tenant, job_id)
        if job is None or job.variations[variation].state != "succeeded":
            return None
        take = job.variations[variation]
        assert take.seed is not None
        assert take.generation is not None
        codes = np.zeros((NUM_CODEBOOKS, take.num_frames), np.int16)
        return Resumption(GenerationStart(take.generation, take.seed, "miss", IDENTITY), codes)

    # what a worker does

    def begin(self, job_id: str, number: int = 0) -> None:
        variation = self._jobs[job_id].variations[number]
        started_s = variation.started_s or self.now_s
        self._put(job_id, number, state="running", started_s=started_s, attempts=variation.attempts + 1)

    def save(self, job_id: str, frames: int, number: int = 0) -> None:
        self._put(job_id, number, frames=frames)

    def succeed(self, job_id: str, number: int = 0) -> None:
        variation = self._jobs[job_id].variations[number]
        seed = self.seed_of_none if variation.seed is None else variation.seed
        key = key_of(self._jobs[job_id].request, seed)
        ended = {"state": "succeeded", "frames": variation.num_frames, "ended_s": self.now_s}
        self._put(job_id, number, seed=seed, generation=key, started_s=variation.started_s or self.now_s, **ended)

    def fail(self, job_id: str, fault: Fault, number: int = 0) -> None:
        self._put(job_id, number, state="failed", fault=fault, ended_s=self.now_s)

    def _put(self, job_id: str, number: int, **changes: Any) -> None:
        job = self._jobs[job_id]
        variations = list(job.variations)
        variations[number] = replace(variations[number], **changes)
        self._jobs[job_id] = replace(job, variations=tuple(variations), version=job.version + 1)
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _placed(self, job: Job) -> Job:
        if job.state != "queued":
            return job
        alike = [
            each.id
            for each in self._jobs.values()
            if (each.tenant, each.queue, each.state) == (job.tenant, job.queue, "queued")
        ]
        return replace(job, position=alike.index(job.id) + 1)


class DecodingBackend(SineBackend):
    """The sine of a job's request stands for the sound of its codes. decoded: how often that was done."""

    def __init__(self) -> None:
        super().__init__()
        self.decoded = 0

    async def cached_file(self, request: MusicRequest, start: GenerationStart, container: str) -> SoundFile | None:
        return self.files.get((start.key, request.duration_ms, container))

    async def decode(self, request: MusicRequest, made: Resumption) -> ComposedMusic:
        self.decoded += 1
        assert request.seed == made.start.seed
        return ComposedMusic(made.start, sine(request))


def key_of(request: MusicRequest, seed: int) -> str:
    """The key of a request's music, by the real rules."""
    return generation_key(SineBackend()._asked(request), seed).digest


def job_service(
    jobs: ReferenceJobs, backend: SineBackend | None = None, jobs_settings: JobsSettings | None = None, **settings: Any
) -> FastAPI:
    return create_app(
        backend or DecodingBackend(),
        HttpSettings(**settings),
        jobs=jobs,
        jobs_settings=jobs_settings or JobsSettings(),
    )


async def submitted(app: FastAPI, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    return await ask(app, "POST", "/v1/generations", json={**BODY, **body}, headers=headers or {})
