"""Jobs, as the HTTP surface asks for them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence

from deployments.messages import Resumption
from serve_app.api.errors import InvalidRequest, NotFound, TooBusy
from serve_app.jobs.errors import KeyReused, TooManyQueued, UnknownJob
from serve_app.jobs.followers import Followers
from serve_app.jobs.job import Job, Submission
from serve_app.jobs.records import JobRecords


class Jobs:
    """A `JobsBackend`. changed: is called when there is something new to do, or no longer anything."""

    def __init__(self, records: JobRecords, *, max_queued: int, changed: Callable[[], None]) -> None:
        self._records = records
        self._max_queued = max_queued
        self._changed = changed
        self._followers = Followers(self._find_many)

    async def submit(self, submission: Submission) -> tuple[Job, bool]:
        try:
            job, is_new = await self._records.ask("submit", lambda table: table.submit(submission, self._max_queued))
        except KeyReused as error:
            raise InvalidRequest(
                "This Idempotency-Key came before, with another body: send the same body, or another key.",
                param="Idempotency-Key",
            ) from error
        except TooManyQueued as error:
            raise TooBusy(f"{self._max_queued} jobs wait already, which is all that may; try again later.") from error
        self._changed()
        return job, is_new

    async def is_known(self, tenant: str, idempotency_key: str) -> bool:
        return await self._records.ask("find", lambda table: table.is_known(tenant, idempotency_key))

    async def find(self, tenant: str, job_id: str) -> Job | None:
        return await self._records.ask("find", lambda table: table.find(tenant, job_id))

    async def page(self, tenant: str, limit: int, before: str | None) -> Sequence[Job]:
        try:
            return await self._records.ask("page", lambda table: table.page(tenant, limit, before))
        except UnknownJob as error:
            raise NotFound("There is no such generation to go on from.") from error

    async def cancel(self, tenant: str, job_id: str) -> Job | None:
        job = await self._records.ask("cancel", lambda table: table.cancel(tenant, job_id))
        self._changed()
        return job

    async def remove(self, tenant: str, job_id: str) -> bool:
        return await self._records.ask("remove", lambda table: table.remove(tenant, job_id))

    def follow(self, tenant: str, job_id: str, after: int = -1) -> AsyncGenerator[Job | None, None]:
        return self._followers.follow((tenant, job_id), after)

    async def made(self, tenant: str, job_id: str, variation: int) -> Resumption | None:
        return await self._records.ask("made", lambda table: table.made(tenant, job_id, variation))

    async def _find_many(self, pairs: Collection[tuple[str, str]]) -> Mapping[str, Job]:
        return await self._records.ask("follow", lambda table: table.find_many(pairs))
