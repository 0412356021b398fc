"""Body passing: a small request body travels with its request, where Serve would have the ingress fetch it.

    uvicorn → PassBodyInScope … Serve's proxy, queues, replica … ReadBodyFromScope → the application

Upstream behaviour: Serve (Ray 2.60) hands a request to its replica without the body. The replica calls the proxy back
for it, and calls again to wait for the client to hang up. Those two calls cost more than all the rest of a cache hit,
and an application that answers before either is made is spared both. So a body that arrives with its head is put into
the request's ASGI scope. It comes the usual way too, for other applications behind the same proxy.
"""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# A music request has some hundred bytes. With many more, the copy in the scope would cost as much as the call.
MAX_PASSED_BYTES = 2**14
# Head and body mostly arrive together. For a slower client, the body comes the usual way.
WAIT_S = 0.05
_MAX_DIGITS = len(str(MAX_PASSED_BYTES))

# Of the ASGI extension that holds the whole body, as `body`. Proxies outlive a deployment, so the name stays as it is.
EXTENSION = "musicgen_serve.enclosed"


class PassBodyInScope:
    """ASGI middleware next to the server: puts a body into the scope that is declared small and arrives at once."""

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
                passed = {EXTENSION: {"body": first.result().get("body", b"")}}
                scope = {**scope, "extensions": {**(scope.get("extensions") or {}), **passed}}
            await self.app(scope, _first_then(first, receive), send)
        finally:
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)


class ReadBodyFromScope:
    """ASGI middleware next to the application: the first `receive` gives the body in the scope, without waiting."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        passed = (scope.get("extensions") or {}).get(EXTENSION)
        if passed is None:
            await self.app(scope, receive, send)
            return
        given = False

        async def receive_passed() -> Message:
            nonlocal given
            if not given:
                given = True
                return {"type": "http.request", "body": passed["body"], "more_body": False}
            while (message := await receive())["type"] == "http.request":
                pass
            return message

        await self.app(scope, receive_passed, send)


def _is_small(values: list[str]) -> bool:
    """Whether the values of Content-Length are one small number. The application judges all the others."""
    return (
        len(values) == 1
        and values[0].isascii()
        and values[0].isdigit()
        and len(values[0]) <= _MAX_DIGITS
        and int(values[0]) <= MAX_PASSED_BYTES
    )


def _is_whole_and_small(message: Message) -> bool:
    whole = message["type"] == "http.request" and not message.get("more_body", False)
    return whole and len(message.get("body", b"")) <= MAX_PASSED_BYTES


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
