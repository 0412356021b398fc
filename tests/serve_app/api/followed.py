"""A job that is followed, and a client that reads its events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import Message

from tests.serve_app.api.asgi import Exchange, body, post_scope
from tests.serve_app.api.jobs_reference import ReferenceJobs, job_service, submitted

Told = tuple[int, str, dict[str, Any]]


class Reader(Exchange):
    """A client that takes a message whenever `takes` lets it."""

    def __init__(
        self, path: str, headers: dict[str, str] | None = None, takes: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        super().__init__(body(b""))
        sent = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
        self.scope = {**post_scope(sent, f"{path}/events"), "method": "GET"}
        self.takes = takes
        self.came = asyncio.Event()

    async def send(self, message: Message) -> None:
        if self.takes is not None:
            await self.takes()
        await super().send(message)
        self.came.set()

    @property
    def text(self) -> str:
        return b"".join(message["body"] for message in self.sent[1:]).decode()

    @property
    def told(self) -> list[Told]:
        """Every event: its id, its name, the generation."""
        return events_in(self.text)

    async def until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self.came.clear()
            await self.came.wait()

    async def until_told(self, num_events: int) -> None:
        await self.until(lambda: len(self.told) == num_events)


def events_in(text: str) -> list[Told]:
    """As the specification of EventSource reads them, but that every event here has each of its fields once."""
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if "data" in fields:
            assert list(fields) == ["id", "event", "data"]
            events.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return events


class Followed:
    """A job, its service and its path."""

    @classmethod
    async def one(cls, jobs: ReferenceJobs | None = None, **request: Any) -> Followed:
        self = cls()
        self.jobs = jobs or ReferenceJobs()
        self.app = job_service(self.jobs)
        self.path = (await submitted(self.app, **request)).headers["location"]
        self.id = self.path.rpartition("/")[2]
        return self
