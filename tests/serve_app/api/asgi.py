"""The ASGI calls that a server would make, one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp, Message, Scope


def post_scope(headers: Iterable[tuple[bytes, bytes]] = (), path: str = "/v1/music") -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [*headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }


class Exchange:
    """One request: `receive` hands out the messages put into `incoming` and counts them, `send` keeps what comes."""

    def __init__(self, *messages: Message) -> None:
        self.incoming: asyncio.Queue[Message] = asyncio.Queue()
        for message in messages:
            self.incoming.put_nowait(message)
        self.num_received = 0
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        message = await self.incoming.get()
        self.num_received += 1
        self.incoming.task_done()
        return message

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        await app(scope, self.receive, self.send)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])


def body(content: bytes, more: bool = False) -> Message:
    return {"type": "http.request", "body": content, "more_body": more}


DISCONNECT: dict[str, Any] = {"type": "http.disconnect"}
