"""From a job to the JSON that tells a client of it.

The HTTP answer that tells of a job while it changes: server-sent events, as browsers' EventSource reads them.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime, timezone

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployments.messages import ModelCard
from serve_app.api.backends import JobsBackend
from serve_app.api.middleware.disconnects import while_connected
from serve_app.api.schemas.generations import (
    GenerationAnswer,
    GenerationLinks,
    GenerationsAnswer,
    GenerationTiming,
    PageLinks,
    SoundHealthAnswer,
    VariationAnswer,
    VariationFault,
    VariationLinks,
)
from serve_app.cache.keys import short_id
from serve_app.errors import RETRY_AFTER_S, ClientClosedRequest, NotReady
from serve_app.job import ENDED, Job, JobState, SoundHealth, Variation
from serve_app.proxy.flow_control import CreditWindow

PATH = "/v1/generations"


def generation_path(job_id: str, root: str) -> str:
    """The address of a generation. root: the path under which the service is mounted, empty where it is not."""
    return f"{root}{PATH}/{job_id}"


def generation_answer(job: Job, cards: Sequence[ModelCard], root: str) -> GenerationAnswer:
    """The resource: a function of the job's version and nothing else, so that it is the same whenever it is asked."""
    path = generation_path(job.id, root)
    started_s = min((each.started_s for each in job.variations if each.started_s is not None), default=None)
    ended_s = _ended_s(job)
    return GenerationAnswer(
        id=job.id,
        state=job.state,
        progress=job.progress,
        position=job.position if job.state == "queued" else None,
        queue=job.queue,
        model_id=job.request.model,
        license=next((card.license for card in cards if card.name == job.request.model), None),
        prompt=job.request.prompt,
        music_length_ms=job.request.duration_ms,
        created_at=rfc3339(job.created_s),
        started_at=None if started_s is None else rfc3339(started_s),
        ended_at=None if ended_s is None else rfc3339(ended_s),
        timing=GenerationTiming(queued_s=_between(job.created_s, started_s), running_s=_between(started_s, ended_s)),
        variations=[_variation(each, path) for each in job.variations],
        links=GenerationLinks(self=path, events=f"{path}/events", audio=f"{path}/audio"),
    )


def page_answer(jobs: Sequence[Job], limit: int, cards: Sequence[ModelCard], root: str) -> GenerationsAnswer:
    """The first `limit` of these jobs; where there are more of them, there is a next page."""
    shown = jobs[:limit]
    more = f"{root}{PATH}?limit={limit}&before={shown[-1].id}" if len(jobs) > limit else None
    return GenerationsAnswer(
        generations=[generation_answer(job, cards, root) for job in shown], links=PageLinks(next=more)
    )


def rfc3339(moment_s: float) -> str:
    """Seconds since 1970 as UTC, to the millisecond."""
    moment = datetime.fromtimestamp(moment_s, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _variation(variation: Variation, path: str) -> VariationAnswer:
    fault, health = variation.fault, variation.health
    return VariationAnswer(
        number=variation.number,
        state=variation.state,
        progress=variation.frames / variation.num_frames,
        seed=variation.seed,
        music_id=None if variation.generation is None else short_id(variation.generation),
        error=None if fault is None else VariationFault(type=fault.type, message=fault.message),
        sound=None if health is None else _sound(health),
        links=VariationLinks(audio=f"{path}/audio?variation={variation.number}"),
    )


def _sound(health: SoundHealth) -> SoundHealthAnswer:
    """To a ten-thousandth: no more of it means anything."""
    return SoundHealthAnswer(
        collapsed=health.collapsed,
        silent_share=round(health.silent_share, 4),
        clipped_share=round(health.clipped_share, 4),
        flatness=None if health.flatness is None else round(health.flatness, 4),
        harmonicity=None if health.harmonicity is None else round(health.harmonicity, 4),
    )


def _ended_s(job: Job) -> float | None:
    """When the last variation ended; None while one has not."""
    ends = [each.ended_s for each in job.variations if each.ended_s is not None]
    return max(ends) if ends and job.state in ENDED else None


def _between(from_s: float | None, to_s: float | None) -> float | None:
    """Never below zero: the two may be of two machines' clocks."""
    return None if from_s is None or to_s is None else round(max(0.0, to_s - from_s), 3)


MEDIA_TYPE = "text/event-stream"
# A connection on which nothing comes is closed by many a proxy after 30 or 60 s.
HEARTBEAT_S = 15.0
# How long a reader waits before it connects again.
RETRY_MS = 2000


class JobEventsResponse(Response):
    """One event for each state of a job that the reader has time for, until the job has ended.

    A reader gets the next event when it has taken the last one: no other waits for it here, and what the job has gone
    through in between it is not told. It may take as long as it likes, since all that it costs is a connection; nor is
    there a deadline, since a job may wait in the queue for hours.

    after: the version that the reader knows. Where the records can't be reached for a while, it hears heartbeats.
    """

    def __init__(
        self, jobs: JobsBackend, tenant: str, job_id: str, after: int, answer: Callable[[Job], GenerationAnswer]
    ) -> None:
        super().__init__()
        del self.headers["Content-Length"]
        # nginx gathers answers unless it is told not to.
        self.headers.update({"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._jobs = jobs
        self._tenant = tenant
        self._job_id = job_id
        self._after = after
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        credit = CreditWindow(scope, receive, send, window_bytes=0, stall_s=None)
        try:
            await while_connected(self._send_all(credit), credit.receive, math.inf)
        except ClientClosedRequest:
            return  # the answer has begun: this is how most of them end

    async def _send_all(self, credit: CreditWindow) -> None:
        await credit.send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await credit.send(_piece(f"retry: {RETRY_MS}\n\n"))
        state: JobState | None = None
        async with aclosing(_with_heartbeats(self._states())) as states:
            await credit.wait_for_room()
            async for job in states:
                if job is None:
                    await credit.send(_piece(": \n\n"))
                else:
                    await credit.send(_piece(event(job, self._answer(job), state)))
                    state = job.state
                await credit.wait_for_room()
        await credit.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _states(self) -> AsyncGenerator[Job, None]:
        """The job again and again, across whatever keeps the records from being reached."""
        while True:
            try:
                async with aclosing(self._jobs.follow(self._tenant, self._job_id, self._after)) as states:
                    async for job in states:
                        if job is None:
                            return
                        self._after = job.version
                        yield job
                return
            except NotReady as error:
                pause_s = RETRY_AFTER_S if error.retry_after_s is None else error.retry_after_s
            await asyncio.sleep(pause_s)


def event(job: Job, answer: GenerationAnswer, told: JobState | None) -> str:
    """One event. told: the state that the reader was told last; the event is named by one that is new to it."""
    kind = "progress" if job.state == told else job.state
    return f"id: {job.version}\nevent: {kind}\ndata: {answer.model_dump_json()}\n\n"


async def _with_heartbeats(states: AsyncGenerator[Job, None]) -> AsyncGenerator[Job | None, None]:
    """The same, with None whenever nothing has come for HEARTBEAT_S."""
    coming: asyncio.Task[Job | None] | None = None
    try:
        while True:
            coming = coming or asyncio.create_task(_next(states))
            await asyncio.wait({coming}, timeout=HEARTBEAT_S)
            if not coming.done():
                yield None
                continue
            job, coming = coming.result(), None
            if job is None:
                return
            yield job
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        await states.aclose()


async def _next(states: AsyncGenerator[Job, None]) -> Job | None:
    return await anext(states, None)


def _piece(text: str) -> dict[str, object]:
    return {"type": "http.response.body", "body": text.encode(), "more_body": True}
