"""A job as an HTTP response: its JSON, and its changes as server-sent events, as browsers' EventSource reads them.

sse-starlette is not used: its pings go on for a client that has stopped reading, and importing it patches uvicorn so
that every stream ends at the first SIGTERM, through a task that never ends.
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
from serve_app.api.middleware.connection import while_connected
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

GENERATIONS_PATH = "/v1/generations"


def generation_path(job_id: str, root: str) -> str:
    """The address of a generation. root: the path under which the service is mounted, else empty."""
    return f"{root}{GENERATIONS_PATH}/{job_id}"


def generation_answer(job: Job, cards: Sequence[ModelCard], root: str) -> GenerationAnswer:
    """The JSON of a job. It depends on the job's version only, so it is the same in every answer."""
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
    """The first `limit` of these jobs, with a link to the next page if there are more."""
    shown = jobs[:limit]
    more = f"{root}{GENERATIONS_PATH}?limit={limit}&before={shown[-1].id}" if len(jobs) > limit else None
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
    """Rounded to a ten-thousandth: further digits mean nothing."""
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
    """Never below zero: the two times may be from two machines' clocks."""
    return None if from_s is None or to_s is None else round(max(0.0, to_s - from_s), 3)


EVENTS_MEDIA_TYPE = "text/event-stream"
# Many proxies close a silent connection after 30 or 60 s.
HEARTBEAT_S = 15.0
# How long a client waits before it connects again.
RETRY_MS = 2000


class JobEventsResponse(Response):
    """The states of a job as server-sent events, until the job has ended.

    A client gets the next event when it has taken the last one. No others are queued for it, and states in between are
    skipped. It may take as long as it likes, since it costs only a connection; nor is there a deadline, since a job may
    wait in the queue for hours. While the database can't be reached, the client gets heartbeats.

    Args:
        after: the version that the client has.
    """

    def __init__(
        self, jobs: JobsBackend, tenant: str, job_id: str, after: int, answer: Callable[[Job], GenerationAnswer]
    ) -> None:
        super().__init__()
        del self.headers["Content-Length"]
        # nginx buffers answers unless it is told not to.
        self.headers.update({"Content-Type": EVENTS_MEDIA_TYPE, "Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._jobs = jobs
        self._tenant = tenant
        self._job_id = job_id
        self._after = after
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        window = CreditWindow(scope, receive, send, window_bytes=0, stall_s=None)
        try:
            await while_connected(self._send_all(window), window.receive, math.inf)
        except ClientClosedRequest:
            return  # the answer has begun: most streams end this way

    async def _send_all(self, window: CreditWindow) -> None:
        await window.send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await window.send(_piece(f"retry: {RETRY_MS}\n\n"))
        state: JobState | None = None
        async with aclosing(_with_heartbeats(self._states())) as states:
            await window.wait_for_room()
            async for job in states:
                if job is None:
                    await window.send(_piece(": \n\n"))
                else:
                    await window.send(_piece(event(job, self._answer(job), state)))
                    state = job.state
                await window.wait_for_room()
        await window.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _states(self) -> AsyncGenerator[Job, None]:
        """The job whenever it has changed; it goes on after an outage of the database."""
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


def event(job: Job, answer: GenerationAnswer, sent: JobState | None) -> str:
    """One event, named by the job's state where that differs from `sent`, the last one that the client got."""
    kind = "progress" if job.state == sent else job.state
    return f"id: {job.version}\nevent: {kind}\ndata: {answer.model_dump_json()}\n\n"


async def _with_heartbeats(states: AsyncGenerator[Job, None]) -> AsyncGenerator[Job | None, None]:
    """The same, with a None whenever nothing has come for HEARTBEAT_S."""
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
