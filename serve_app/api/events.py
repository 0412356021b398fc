"""The HTTP answer that tells of a job while it changes: server-sent events, as browsers' EventSource reads them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serve_app.api.credit import Credit
from serve_app.api.errors import RETRY_AFTER_S, ClientClosedRequest, NotReady
from serve_app.api.generation_schemas import GenerationAnswer
from serve_app.api.hangup import while_connected
from serve_app.api.jobs_backend import JobsBackend
from serve_app.jobs.job import Job, JobState

MEDIA_TYPE = "text/event-stream"
# A connection on which nothing comes is closed by many a proxy after 30 or 60 s.
HEARTBEAT_S = 15.0
# How long a reader waits before it connects again.
RETRY_MS = 2000


class JobEvents(Response):
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
        credit = Credit(scope, receive, send, window_bytes=0, stall_s=None)
        try:
            await while_connected(self._send_all(credit), credit.receive, math.inf)
        except ClientClosedRequest:
            return  # the answer has begun: this is how most of them end

    async def _send_all(self, credit: Credit) -> None:
        await credit.send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await credit.send(_piece(f"retry: {RETRY_MS}\n\n"))
        state: JobState | None = None
        async with aclosing(_with_heartbeats(self._states())) as states:
            await credit.room()
            async for job in states:
                if job is None:
                    await credit.send(_piece(": \n\n"))
                else:
                    await credit.send(_piece(event(job, self._answer(job), state)))
                    state = job.state
                await credit.room()
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
