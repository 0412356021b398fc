"""What the HTTP surface needs of whatever keeps the jobs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from deployments.messages import Resumption
from serve_app.jobs.job import Job, Submission


class JobsBackend(Protocol):
    """Jobs of all tenants; every call names the one that it is for, and knows nothing of others'.

    Every call raises NotReady where the records can't be reached; then nothing was done, or it can be asked again.
    """

    async def submit(self, submission: Submission) -> tuple[Job, bool]:
        """The job, and whether it is a new one: the same idempotency key and body give the job that there is.

        Raises: InvalidRequest for an idempotency key that came with another body; TooBusy for more jobs in the queue
        than a tenant may have.
        """
        ...

    async def is_known(self, tenant: str, idempotency_key: str) -> bool:
        """Whether a job came with this key before."""
        ...

    async def find(self, tenant: str, job_id: str) -> Job | None:
        """As it stands now."""
        ...

    async def page(self, tenant: str, limit: int, before: str | None) -> Sequence[Job]:
        """Newest first, from the one that follows the job `before` on. Raises: NotFound where there is no such job."""
        ...

    async def cancel(self, tenant: str, job_id: str) -> Job | None:
        """As it stands after; one that has ended stays as it is. What it made by now is kept with it."""
        ...

    async def remove(self, tenant: str, job_id: str) -> bool:
        """Takes away one that has ended, with its codes; whether there was such a one."""
        ...

    def follow(self, tenant: str, job_id: str, after: int = -1) -> AsyncGenerator[Job | None, None]:
        """The job once its version is above `after`, and again whenever it has changed, until it has ended.

        Who is slow gets the last state, not all. None, and the end, when there is no such job (any more).
        """
        ...

    async def made(self, tenant: str, job_id: str, variation: int) -> Resumption | None:
        """All codes of a variation that has succeeded; None where there is none."""
        ...
