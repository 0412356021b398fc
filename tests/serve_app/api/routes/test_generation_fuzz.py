"""Schemathesis on the paths of jobs, with every check it has, and with ids among its own that there are."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncGenerator
from typing import Any

import schemathesis
from fastapi import FastAPI
from hypothesis import settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from serve_app.job import ENDED, Fault, Job, Submission
from tests.serve_app.api.jobs_reference import DecodingBackend, ReferenceJobs, job_service, submitted
from tests.serve_app.api.service import CARDS


class Lasting(ReferenceJobs):
    """Whatever is done to a job, it is as before; so each of them can be met in each state. Who follows one sees the
    end of it at once. No key comes twice: that another body then is an error, a schema can't say.
    """

    async def submit(self, submission: Submission) -> tuple[Job, bool]:
        return await super().submit(dataclasses.replace(submission, idempotency_key=None))

    async def cancel(self, tenant: str, job_id: str) -> Job | None:
        job = await self.find(tenant, job_id)
        return None if job is None else ended(job)

    async def remove(self, tenant: str, job_id: str) -> bool:
        return await self.find(tenant, job_id) is not None

    async def follow(self, tenant: str, job_id: str, after: int = -1) -> AsyncGenerator[Job | None, None]:
        job = await self.find(tenant, job_id)
        assert job is not None
        yield job
        if job.state not in ENDED:
            yield ended(job)


def ended(job: Job) -> Job:
    variations = tuple(dataclasses.replace(each, state="cancelled", ended_s=job.created_s) for each in job.variations)
    return dataclasses.replace(job, variations=variations, version=job.version + 1, position=None)


async def staged(app: FastAPI, jobs: ReferenceJobs) -> list[str]:
    """The ids of a job in each state."""
    ids: list[str] = [(await submitted(app, variations=2, music_length_ms=20)).json()["id"] for _ in range(6)]
    _queued, running, half, made, failed, cancelled = ids
    jobs.begin(running)
    jobs.succeed(half)
    for number in range(2):
        jobs.succeed(made, number)
        jobs.fail(failed, Fault("internal", "It failed."), number)
    await ReferenceJobs.cancel(jobs, "local", cancelled)
    return ids


def build() -> tuple[FastAPI, list[str]]:
    backend = DecodingBackend()
    backend.cards = tuple(dataclasses.replace(CARDS[0], name=name) for name in ("etude", "small"))
    jobs = Lasting(max_queued=40)
    app = job_service(jobs, backend)
    return app, asyncio.run(staged(app, jobs))


APP, IDS = build()
schema = schemathesis.openapi.from_asgi("/openapi.json", APP).include(path_regex="^/v1/generations")
_next_id = itertools.cycle([*IDS, None])


@schema.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Mostly an id that there is: one that is drawn never would be."""
    known = next(_next_id)
    return path_parameters if path_parameters is None or known is None else {**path_parameters, "id": known}


@schema.parametrize()
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_service_does_with_jobs_what_its_document_says(case: schemathesis.Case[Any]) -> None:
    response = case.call()
    # That a range lies beyond the end, a schema can't say.
    beyond_the_end = [positive_data_acceptance] if response.status_code == 416 else []
    case.validate_response(response, excluded_checks=beyond_the_end)
