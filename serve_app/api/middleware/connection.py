"""The client's connection: how large and how late a request body may be, and what happens when the client hangs up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.liveness.stalls import within
from serve_app.errors import (
    ClientClosedRequest,
    DeadlineExceeded,
    Internal,
    MalformedRequest,
    PayloadTooLarge,
    RequestTimeout,
    ServiceError,
    error_response,
)

T = TypeVar("T")

_CANCEL_AGAIN_S = 1.0


class BodyLimit:
    """ASGI middleware: answers 413 at once where Content-Length is too large.

    `receive` raises PayloadTooLarge where more than the limit arrives, and RequestTimeout where the body is late.

    Args:
        timeout_s: counted from the first `receive`.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int, timeout_s: float) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            self._check_declared(Headers(scope=scope).getlist("Content-Length"))
        except ServiceError as error:
            await error_response(error)(scope, receive, send)
            return
        num_bytes, complete = 0, False
        until_s: float | None = None

        async def receive_limited() -> Message:
            nonlocal num_bytes, complete, until_s
            if complete:
                return await receive()
            now_s = asyncio.get_running_loop().time()
            until_s = now_s + self.timeout_s if until_s is None else until_s
            try:
                message = await within(receive(), until_s - now_s)
            except asyncio.TimeoutError:
                raise RequestTimeout(f"The body must come within {self.timeout_s:g} s.") from None
            complete = not message.get("more_body", False)
            if message["type"] == "http.request":
                num_bytes += len(message.get("body", b""))
                if num_bytes > self.max_body_bytes:
                    raise self._too_large()
            return message

        await self.app(scope, receive_limited, send)

    def _check_declared(self, values: list[str]) -> None:
        if not values:
            return
        value = values[0].strip(" \t")
        if len(set(values)) > 1 or not (value.isascii() and value.isdigit()):
            raise MalformedRequest("The length must be one decimal number of bytes.", param="Content-Length")
        # 18 digits are more than any limit, and few enough for int() to read at once.
        if len(value) > 18 or int(value) > self.max_body_bytes:
            raise self._too_large()

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"The body must be at most {self.max_body_bytes} bytes.")


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
