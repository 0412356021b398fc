"""Followers of jobs at this replica: one query of the database for all of them, twice a second.

A follower sees the last state and not every one, so that a slow reader holds one job in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping

from deployments.liveness.stalls import within
from serve_app.errors import NotReady
from serve_app.job import ENDED, Job
from serve_app.tasks import detached

_POLL_S = 0.5

# A job's tenant and id.
JobRef = tuple[str, str]
FindJobs = Callable[[Collection[JobRef]], Awaitable[Mapping[str, Job]]]


class _Follower:
    """job: its last state; None: there is no such job. news: is set while the follower has not seen it."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self.news = asyncio.Event()


class Followers:
    """Tells the followers of jobs how these stand; one query of the database serves them all.

    find: the jobs that exist, by id; raises NotReady while the database cannot be reached.
    """

    def __init__(self, find: FindJobs) -> None:
        self._find = find
        self._followers: dict[JobRef, set[_Follower]] = {}
        self._has_new = asyncio.Event()
        self._polling: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return sum(map(len, self._followers.values()))

    async def follow(self, ref: JobRef, after: int) -> AsyncGenerator[Job | None, None]:
        """As `JobsBackend.follow`. While the database cannot be reached nothing comes."""
        follower, position = self._join(ref), None
        try:
            while True:
                await follower.news.wait()
                follower.news.clear()
                job = follower.job
                if job is None:
                    yield None
                    return
                if job.version > after or job.position != position:
                    after, position = job.version, job.position
                    yield job
                if job.state in ENDED:
                    return
        finally:
            self._leave(ref, follower)

    def _join(self, ref: JobRef) -> _Follower:
        follower = _Follower()
        self._followers.setdefault(ref, set()).add(follower)
        self._has_new.set()
        if self._polling is None:
            self._polling = detached(self._poll())
        return follower

    def _leave(self, ref: JobRef, follower: _Follower) -> None:
        followers = self._followers[ref]
        followers.discard(follower)
        if not followers:
            del self._followers[ref]
        if not self._followers and self._polling is not None:
            self._polling.cancel()
            self._polling = None

    async def _poll(self) -> None:
        while True:
            self._has_new.clear()
            refs = list(self._followers)
            try:
                jobs = await self._find(refs)
            except NotReady:
                pass  # `AsyncJobTable` has counted and logged it
            else:
                for tenant, job_id in refs:
                    job = jobs.get(job_id)
                    # An id that another tenant follows may be found too, but the job is not this tenant's.
                    self._update((tenant, job_id), job if job is not None and job.tenant == tenant else None)
            # A new follower does not wait for the next poll.
            with contextlib.suppress(asyncio.TimeoutError):
                await within(self._has_new.wait(), _POLL_S)

    def _update(self, ref: JobRef, job: Job | None) -> None:
        for follower in self._followers.get(ref, ()):
            if job is None or _is_news(job, follower.job):
                follower.job = job
                follower.news.set()


def _is_news(job: Job, last: Job | None) -> bool:
    """A job moves in the queue when others start, without a change of its own version."""
    return last is None or job.version > last.version or job.position != last.position
