"""The limits of a request body: its size, and the time in which it has to arrive."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.liveness.stalls import within
from serve_app.errors import MalformedRequest, PayloadTooLarge, RequestTimeout, ServiceError, error_response


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
