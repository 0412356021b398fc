"""Credit-based flow control of streams: how far a stream may run ahead of its client.

    response → CreditWindow … Serve's queues … proxy: Acknowledgements → uvicorn → client

Upstream behaviour: between an ingress replica and Serve's proxy there is no back pressure (Ray 2.60: the queues have no
limit, and the proxy's stream does not use Ray's own), so whole clips would pile up in the proxy for clients that don't
read. uvicorn, in front of it, takes the next piece only when its client has taken most of the last. `Acknowledgements`
reports that back through the one channel that leads to the replica: the request's own `receive`. `CreditWindow` keeps
at most WINDOW_BYTES unacknowledged, and what exceeds them by one piece.

Serve loads the middlewares into its proxies where Ray was started with PROXY_ENVIRONMENT. Without it there are no
acknowledgements and a stream doesn't wait: the proxy then holds a clip at most. Under plain uvicorn `send` waits.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.liveness.stalls import within
from serve_app.errors import DeadlineExceeded
from serve_app.proxy.body_passing import PassBodyInScope
from serve_app.proxy.header_filter import HeaderFilter

PROXY_ENVIRONMENT = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": f"{__name__}:middlewares"}

# Some seconds of PCM: enough that a fast reader never waits for an acknowledgement, which takes some milliseconds.
WINDOW_BYTES = 2**18
# A client that takes less than a piece in this time counts as stalled; nginx' send_timeout is the same.
STALL_S = 60.0

# Of the ASGI extension (in the scope: there are acknowledgements) and of its event (on `receive`: the client's server
# has taken `num_bytes`). Proxies outlive a deployment, so the name stays as it is.
ACKNOWLEDGED = "musicgen_serve.taken"


def middlewares() -> list[Middleware]:
    """The middlewares of Serve's proxies, the outermost last."""
    return [Middleware(Acknowledgements), Middleware(PassBodyInScope), Middleware(HeaderFilter)]


class Acknowledgements:
    """ASGI middleware next to the server: reports on `receive` how many bytes of the answer the server has taken.

    Only of streams: a body in one piece is never acknowledged.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        channel = _Channel(receive, send)
        try:
            extensions = {**(scope.get("extensions") or {}), ACKNOWLEDGED: {}}
            await self.app({**scope, "extensions": extensions}, channel.receive, channel.send)
        finally:
            await channel.close()


class _Channel:
    """A request's `receive`, with acknowledgements of its `send` among the messages."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._acknowledged_bytes = 0
        self._reported_bytes = 0
        self._progress: asyncio.Future[None] | None = None
        self._receiving: asyncio.Future[Message] | None = None

    async def send(self, message: Message) -> None:
        await self._send(message)
        if message["type"] == "http.response.body" and message.get("more_body", False):
            self._acknowledged_bytes += len(message.get("body", b""))
            if self._progress is not None and not self._progress.done():
                self._progress.set_result(None)

    async def receive(self) -> Message:
        """The server's next message, or the bytes taken by now, whichever comes first."""
        if self._receiving is None:
            self._receiving = asyncio.ensure_future(self._receive())
        if self._reported_bytes == self._acknowledged_bytes:
            self._progress = asyncio.get_running_loop().create_future()
            either: set[asyncio.Future[Any]] = {self._receiving, self._progress}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._receiving.done():
            received, self._receiving = self._receiving, None
            return received.result()
        self._reported_bytes = self._acknowledged_bytes
        return {"type": ACKNOWLEDGED, "num_bytes": self._reported_bytes}

    async def close(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.gather(self._receiving, return_exceptions=True)


class CreditWindow:
    """A request's `receive` and `send`; `send` waits while too many bytes are unacknowledged.

    Args:
        window_bytes: how many bytes may be unacknowledged when a piece is sent.
        stall_s: how long a client may take nothing; None for no limit.
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
        self._has_acknowledgements = ACKNOWLEDGED in (scope.get("extensions") or {})
        self._sent_bytes = 0
        self._acknowledged_bytes = 0
        self._progress = asyncio.Event()

    async def receive(self) -> Message:
        """The next message. Someone has to be receiving at all times: acknowledgements arrive this way."""
        message = await self._receive()
        if message["type"] == ACKNOWLEDGED:
            self._acknowledged_bytes = message["num_bytes"]
            self._progress.set()
        return message

    async def wait_for_room(self) -> None:
        """Returns when a piece may be sent at once.

        Raises:
            DeadlineExceeded: the client has taken nothing for `stall_s`.
        """
        while self._has_acknowledgements and self._sent_bytes - self._acknowledged_bytes > self._window_bytes:
            self._progress.clear()
            if self._stall_s is None:
                await self._progress.wait()
                continue
            try:
                await within(self._progress.wait(), self._stall_s)
            except asyncio.TimeoutError as error:
                raise DeadlineExceeded(f"The client has taken nothing for {self._stall_s:g} s.") from error

    async def send(self, message: Message) -> None:
        """Sends when there is room. Raises: as `wait_for_room`."""
        await self.wait_for_room()
        await self._send(message)
        self._sent_bytes += len(message.get("body", b""))
