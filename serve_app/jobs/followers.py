"""Those who follow jobs from this replica: one look into the records for all of them, twice a second.

Who follows sees the last state there is and not each one: a reader however slow holds one job.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping

from deployments.liveness.stalls import within
from serve_app.errors import NotReady
from serve_app.job import ENDED, Job
from serve_app.tasks import detached

_LOOK_S = 0.5

# A job's tenant and id.
Pair = tuple[str, str]
Look = Callable[[Collection[Pair]], Awaitable[Mapping[str, Job]]]


class _Place:
    """job: the last one seen; None: there is none. news: it has not been told yet."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self.news = asyncio.Event()


class Followers:
    """look: the jobs there are, by id; raises NotReady while that can't be told."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._places: dict[Pair, set[_Place]] = {}
        self._come = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return sum(len(places) for places in self._places.values())

    async def follow(self, pair: Pair, after: int) -> AsyncGenerator[Job | None, None]:
        """As `JobsBackend.follow`. While the records can't be reached nothing comes."""
        place, position = self._join(pair), None
        try:
            while True:
                await place.news.wait()
                place.news.clear()
                job = place.job
                if job is None:
                    yield None
                    return
                if job.version > after or job.position != position:
                    after, position = job.version, job.position
                    yield job
                if job.state in ENDED:
                    return
        finally:
            self._leave(pair, place)

    def _join(self, pair: Pair) -> _Place:
        place = _Place()
        self._places.setdefault(pair, set()).add(place)
        self._come.set()
        if self._looking is None:
            self._looking = detached(self._look_on())
        return place

    def _leave(self, pair: Pair, place: _Place) -> None:
        places = self._places[pair]
        places.discard(place)
        if not places:
            del self._places[pair]
        if not self._places and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    async def _look_on(self) -> None:
        while True:
            self._come.clear()
            pairs = list(self._places)
            try:
                jobs = await self._look(pairs)
            except NotReady:
                pass  # it was counted and logged where it was found out
            else:
                for tenant, job_id in pairs:
                    job = jobs.get(job_id)
                    # An id that somebody else follows is found too, and is none of this tenant's.
                    self._tell((tenant, job_id), job if job is not None and job.tenant == tenant else None)
            # Who comes new is not kept waiting.
            with contextlib.suppress(asyncio.TimeoutError):
                await within(self._come.wait(), _LOOK_S)

    def _tell(self, pair: Pair, job: Job | None) -> None:
        for place in self._places.get(pair, ()):
            if job is None or _is_news(job, place.job):
                place.job = job
                place.news.set()


def _is_news(job: Job, last: Job | None) -> bool:
    """Others that go first move a job in the queue without a change of its own."""
    return last is None or job.version > last.version or job.position != last.position
