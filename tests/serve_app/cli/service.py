"""A service on a socket whose jobs go on by a step whenever somebody looks for one."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Literal

import uvicorn
from starlette.types import ASGIApp

from serve_app.job import ENDED, Fault, Job
from tests.serve_app.api.jobs_reference import ReferenceJobs


class Stepping(ReferenceJobs):
    """Of each variation: begun, half made, made. fails: the numbers of those that fail instead. stays: nothing goes on
    by itself. followed: set when the first looks.
    """

    def __init__(self, *, fails: tuple[int, ...] = (), stays: bool = False) -> None:
        super().__init__()
        self.fails = fails
        self.stays = stays
        self.followed = threading.Event()

    async def follow(self, tenant: str, job_id: str, after: int = -1) -> AsyncGenerator[Job | None, None]:
        async for job in super().follow(tenant, job_id, after):
            self.followed.set()
            yield job
            if job is not None and not self.stays:
                self.step(job)

    def step(self, job: Job) -> None:
        for variation in job.variations:
            if variation.state == "queued":
                return self.begin(job.id, variation.number)
            if variation.state == "running" and variation.frames == 0:
                return self.save(job.id, variation.num_frames // 2, variation.number)
            if variation.state not in ENDED:
                if variation.number in self.fails:
                    return self.fail(job.id, Fault("internal", "It failed."), variation.number)
                return self.succeed(job.id, variation.number)
        return None


@contextmanager
def on_a_socket(app: ASGIApp, lifespan: Literal["on", "off"] = "off") -> Iterator[str]:
    """The address of the app, served by uvicorn in a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, lifespan=lifespan, ws="none", log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
