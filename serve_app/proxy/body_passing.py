"""A small request body that travels with its request, where Serve would have the ingress fetch it.

    server → EncloseBody … Serve's proxy, queues, replica … TakeEnclosed → the application

Serve (Ray 2.60) hands a request to its replica without the body, for which the replica calls the proxy back; then it
calls again and waits there for the client to hang up. The two calls cost more than everything else about a hit, and who
answers before either is made is spared them. So a body that comes with its head goes along in the scope. It comes the
usual way too, for other applications behind the same proxy.
"""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# A request of ours has some hundred bytes; of many more the copy in the scope would cost as much as the call.
MAX_ENCLOSED_BYTES = 2**14
# Head and body mostly come together; a client that takes longer is waited for as ever.
WAIT_S = 0.05
_MAX_DIGITS = len(str(MAX_ENCLOSED_BYTES))

# Names the ASGI extension, whose `body` is all of the request's.
ENCLOSED = "musicgen_serve.enclosed"


class EncloseBody:
    """ASGI middleware next to the server: encloses a body that is declared small and comes in one piece, soon."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_small(Headers(scope=scope).getlist("Content-Length")):
            await self.app(scope, receive, send)
            return
        first = asyncio.ensure_future(receive())
        try:
            await asyncio.wait({first}, timeout=WAIT_S)
            if first.done() and _is_whole_and_small(first.result()):
                enclosed = {ENCLOSED: {"body": first.result().get("body", b"")}}
                scope = {**scope, "extensions": {**(scope.get("extensions") or {}), **enclosed}}
            await self.app(scope, _first_then(first, receive), send)
        finally:
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)


class TakeEnclosed:
    """ASGI middleware next to the application: its first `receive` gives the enclosed body, and waits for nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        enclosed = (scope.get("extensions") or {}).get(ENCLOSED)
        if enclosed is None:
            await self.app(scope, receive, send)
            return
        given = False

        async def receive_enclosed() -> Message:
            nonlocal given
            if not given:
                given = True
                return {"type": "http.request", "body": enclosed["body"], "more_body": False}
            while (message := await receive())["type"] == "http.request":
                pass
            return message

        await self.app(scope, receive_enclosed, send)


def _is_small(values: list[str]) -> bool:
    """Of the headers Content-Length; whatever is not plainly a small number is for the application to judge."""
    return (
        len(values) == 1
        and values[0].isascii()
        and values[0].isdigit()
        and len(values[0]) <= _MAX_DIGITS
        and int(values[0]) <= MAX_ENCLOSED_BYTES
    )


def _is_whole_and_small(message: Message) -> bool:
    whole = message["type"] == "http.request" and not message.get("more_body", False)
    return whole and len(message.get("body", b"")) <= MAX_ENCLOSED_BYTES


def _first_then(first: asyncio.Future[Message], receive: Receive) -> Receive:
    given = False

    async def receive_next() -> Message:
        nonlocal given
        if given:
            return await receive()
        message = await asyncio.shield(first)
        given = True
        return message

    return receive_next
