"""How far a stream runs ahead of its reader, behind a proxy that takes whatever it is given.

    MusicStream → Credit … Serve's queues … proxy: Acknowledge → uvicorn → client

Between the ingress and Serve's proxy nothing pushes back (Ray 2.60: the queues have no limit, and the proxy's stream
has none of Ray's own back pressure), so whole clips would gather there for clients that don't read. uvicorn, in front,
takes the next piece only when its client has taken most of the last. `Acknowledge` tells how far it has come, through
the one channel that leads back: the request's own `receive`. `Credit` lets no more than WINDOW_BYTES, and what exceeds
them by one piece, be under way.

Serve puts it into its proxies where Ray was started with PROXY_ENVIRONMENT in its environment. Where it wasn't, nobody
acknowledges, and a stream waits for nobody: the proxy then holds the clip at most. Under uvicorn alone, `send` itself
waits.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.liveness.stalls import within
from serve_app.errors import DeadlineExceeded
from serve_app.proxy.body_passing import EncloseBody
from serve_app.proxy.client_headers import ClientHeaders

PROXY_ENVIRONMENT = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": f"{__name__}:middlewares"}

# Some seconds of PCM: enough that a fast reader never waits for an acknowledgement, which takes some milliseconds.
WINDOW_BYTES = 2**18
# Less than a piece taken in so long is a client that has gone to sleep; nginx' send_timeout is the same.
STALL_S = 60.0

# Names the ASGI extension (in the scope: somebody acknowledges) and its event (on `receive`: `num_bytes` are taken).
TAKEN = "musicgen_serve.taken"


def middlewares() -> list[Middleware]:
    """What Serve's proxies are to put around themselves, the outermost last."""
    return [Middleware(Acknowledge), Middleware(EncloseBody), Middleware(ClientHeaders)]


class Acknowledge:
    """ASGI middleware next to the server: says on `receive` how much of the body the server has taken.

    Only for streams: a body in one piece is never acknowledged.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        channel = _Channel(receive, send)
        try:
            extensions = {**(scope.get("extensions") or {}), TAKEN: {}}
            await self.app({**scope, "extensions": extensions}, channel.receive, channel.send)
        finally:
            await channel.close()


class _Channel:
    """A request's `receive` with the acknowledgements of its `send` among its messages."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._taken_bytes = 0
        self._told_bytes = 0
        self._news: asyncio.Future[None] | None = None
        self._receiving: asyncio.Future[Message] | None = None

    async def send(self, message: Message) -> None:
        await self._send(message)
        if message["type"] == "http.response.body" and message.get("more_body", False):
            self._taken_bytes += len(message.get("body", b""))
            if self._news is not None and not self._news.done():
                self._news.set_result(None)

    async def receive(self) -> Message:
        """The server's next message, or what has been taken by now, whichever is there first."""
        if self._receiving is None:
            self._receiving = asyncio.ensure_future(self._receive())
        if self._told_bytes == self._taken_bytes:
            self._news = asyncio.get_running_loop().create_future()
            either: set[asyncio.Future[Any]] = {self._receiving, self._news}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._receiving.done():
            received, self._receiving = self._receiving, None
            return received.result()
        self._told_bytes = self._taken_bytes
        return {"type": TAKEN, "num_bytes": self._told_bytes}

    async def close(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.gather(self._receiving, return_exceptions=True)


class Credit:
    """A request's `receive` and `send`, of which the second waits while too much is under way.

    window_bytes: that may be under way before a piece is sent. stall_s: how long a client may take none of it; None:
    as long as it likes.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        window_bytes: int = WINDOW_BYTES,
        stall_s: float | None = STALL_S,
    ) -> None:
        self._window_bytes = window_bytes
        self._stall_s = stall_s
        self._receive = receive
        self._send = send
        self._acknowledged = TAKEN in (scope.get("extensions") or {})
        self._sent_bytes = 0
        self._taken_bytes = 0
        self._news = asyncio.Event()

    async def receive(self) -> Message:
        """Has to be called all the while: it is how acknowledgements come in."""
        message = await self._receive()
        if message["type"] == TAKEN:
            self._taken_bytes = message["num_bytes"]
            self._news.set()
        return message

    async def room(self) -> None:
        """Returns when a piece may be sent at once. Raises: DeadlineExceeded for a client asleep for `stall_s`."""
        while self._acknowledged and self._sent_bytes - self._taken_bytes > self._window_bytes:
            self._news.clear()
            if self._stall_s is None:
                await self._news.wait()
                continue
            try:
                await within(self._news.wait(), self._stall_s)
            except asyncio.TimeoutError as error:
                raise DeadlineExceeded(f"The client has taken nothing for {self._stall_s:g} s.") from error

    async def send(self, message: Message) -> None:
        """Waits for room. Raises: as `room`."""
        await self.room()
        await self._send(message)
        self._sent_bytes += len(message.get("body", b""))
