"""The name of a request, in its log lines and in the answer's `X-Request-Id`.

What a client may not tell Serve.

Serve's proxy, or the ingress replica where HAProxy stands in front, takes hints from the headers of any request: how
long it may run (a number below 0 is for ever), that its hang-up does not matter, and which replica is to have it. Those
are for the service to say.
"""

from __future__ import annotations

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Request-Id"
PATTERN = "[A-Za-z0-9._-]{1,128}"
_PATTERN = re.compile(PATTERN)


def is_fit(sent: str) -> bool:
    """Whether an id of a client's making may stand in a log line."""
    return _PATTERN.fullmatch(sent) is not None


def request_id_of(headers: Headers) -> str:
    """The client's id where it sent one that is fit for a log line, else a new one."""
    sent = headers.getlist(HEADER)
    if len(sent) == 1 and is_fit(sent[0]):
        return sent[0]
    return uuid.uuid4().hex


class RequestId:
    """ASGI middleware: sets `request.state.request_id` and the header of every answer.

    server_answers_it: the server in front draws an id where the client sent none, hands it on as the request's own
    header and adds it to the answer, as Serve's proxy does; a second one would contradict it or repeat it.
    """

    def __init__(self, app: ASGIApp, *, server_answers_it: bool = False) -> None:
        self.app = app
        self._answers_it = not server_answers_it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = request_id_of(Headers(scope=scope))
        # A dict of the request's own: the server may hand the same one to all.
        scope["state"] = {**scope.get("state", {}), "request_id": request_id}

        async def send_with_id(message: Message) -> None:
            if self._answers_it and message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        await self.app(scope, receive, send_with_id)


# In lower case and with hyphens: Serve takes some of them spelt with underscores too.
_FOR_SERVE = frozenset(
    {b"x-request-timeout-seconds", b"x-request-disconnect-disabled", b"x-session-id", b"serve-multiplexed-model-id"}
)
_REQUEST_ID = HEADER.lower().encode()


class ClientHeaders:
    """ASGI middleware next to the server: takes those headers out of every request.

    An id that is unfit for a log line goes too, so that Serve draws the one that the log then has and the answer names.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "headers" in scope:
            scope = {**scope, "headers": [each for each in scope["headers"] if _may_pass(*each)]}
        await self.app(scope, receive, send)


def _may_pass(name: bytes, value: bytes) -> bool:
    name = name.lower()
    if name == _REQUEST_ID:
        return is_fit(value.decode("latin-1"))
    return name.replace(b"_", b"-") not in _FOR_SERVE
