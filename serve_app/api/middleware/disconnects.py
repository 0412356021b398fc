"""Disconnects: clients that hang up, and work that is cancelled when they do."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.errors import ClientClosedRequest, DeadlineExceeded, Internal

T = TypeVar("T")

_CANCEL_AGAIN_S = 1.0


class Disconnects:
    """ASGI middleware: an exception of the kind `gone`, raised by `receive`, becomes a disconnect message.

    A replica of Serve calls its proxy for the client's messages. When the client hangs up, that call may be cancelled
    before it has reported so.
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


async def while_connected(work: Coroutine[Any, Any, T], receive: Receive, deadline_s: float) -> T:
    """The work's result. When the client disconnects, the work is cancelled and its end awaited.

    Args:
        receive: the request's ASGI channel, after the whole body was read: only a disconnect can still come.

    Raises:
        ClientClosedRequest: the client hung up.
        DeadlineExceeded: the work took longer than `deadline_s`.
        Internal: the work was cancelled from elsewhere.
        Exception: whatever the work raises. Cancelling the caller cancels the work too.
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
        await _cancel({working, hanging_up})


async def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancels the tasks again until they have ended: Python 3.11's `asyncio.wait_for` may swallow a cancellation."""
    left = tasks
    while left:
        for task in left:
            task.cancel()
        left = (await asyncio.wait(left, timeout=_CANCEL_AGAIN_S))[1]
    await asyncio.gather(*tasks, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
