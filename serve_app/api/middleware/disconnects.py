"""Clients that are gone, told as ASGI has it.

Waiting for work on behalf of a client that may hang up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.errors import ClientClosedRequest, DeadlineExceeded, Internal


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


T = TypeVar("T")

_AGAIN_S = 1.0


async def while_connected(work: Coroutine[Any, Any, T], receive: Receive, deadline_s: float) -> T:
    """The work's result. The work is cancelled, and its end awaited, as soon as nobody wants it any more.

    receive: the request's ASGI channel, its body read to the end, so that a disconnect is all that can still come.
    Raises ClientClosedRequest when the client hangs up, DeadlineExceeded after `deadline_s`, Internal if the work was
    cancelled from elsewhere, and whatever the work raises. Cancelling the caller cancels the work too.
    """
    # Serve cancels the handler when the client goes; a plain ASGI server only says so on `receive`.
    working = asyncio.create_task(work)
    hanging_up = asyncio.create_task(_disconnect(receive))
    try:
        await asyncio.wait({working, hanging_up}, timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            if working.cancelled():
                raise Internal("The generation was stopped: try again.")
            return working.result()
        if hanging_up.done():
            hanging_up.result()
            raise ClientClosedRequest("The client hung up.")
        raise DeadlineExceeded(f"The clip was not made within {deadline_s:g} s: ask for a shorter one, or later.")
    finally:
        await _ended({working, hanging_up})


async def _ended(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancels them until they have ended: Python 3.11's `asyncio.wait_for` may swallow a cancellation."""
    left = tasks
    while left:
        for task in left:
            task.cancel()
        left = (await asyncio.wait(left, timeout=_AGAIN_S))[1]
    await asyncio.gather(*tasks, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
