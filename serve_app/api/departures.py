"""Clients that are gone, told as ASGI has it."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Departures:
    """ASGI middleware: where `receive` raises one of `gone`, there is nobody any more, and a disconnect is received.

    Serve's proxy asks a replica's process for what its client says; when the client goes, that call may be cancelled
    before it has said so.
    """

    def __init__(self, app: ASGIApp, gone: type[Exception]) -> None:
        self.app = app
        self._gone = gone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def receive_or_disconnect() -> Message:
            try:
                return await receive()
            except self._gone:
                return {"type": "http.disconnect"}

        await self.app(scope, receive_or_disconnect, send)
