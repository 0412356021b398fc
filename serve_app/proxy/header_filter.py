"""The header filter: what a client may not tell Serve.

Upstream behaviour: Serve's proxy (Ray 2.60), or the ingress replica where HAProxy stands in front, takes instructions
from the headers of any request: how long it may run (a number below 0 means for ever), that its hang-up does not
matter, and which replica gets it. Those are for the service to decide. Serve also takes a client's request id as it is
and draws one only where there is none, so an id that may not stand in a log line is taken out too.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

REQUEST_ID_HEADER = "X-Request-Id"
REQUEST_ID_PATTERN = "[A-Za-z0-9._-]{1,128}"
_PATTERN = re.compile(REQUEST_ID_PATTERN)
_REQUEST_ID = REQUEST_ID_HEADER.lower().encode()

# In lower case and with hyphens: Serve takes some of them spelt with underscores too.
_FOR_SERVE = frozenset(
    {b"x-request-timeout-seconds", b"x-request-disconnect-disabled", b"x-session-id", b"serve-multiplexed-model-id"}
)


class HeaderFilter:
    """ASGI middleware next to the server: takes those headers out of every request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "headers" in scope:
            scope = {**scope, "headers": [each for each in scope["headers"] if _may_pass(*each)]}
        await self.app(scope, receive, send)


def is_loggable(request_id: str) -> bool:
    """Whether an id that a client chose may stand in a log line."""
    return _PATTERN.fullmatch(request_id) is not None


def _may_pass(name: bytes, value: bytes) -> bool:
    name = name.lower()
    if name == _REQUEST_ID:
        return is_loggable(value.decode("latin-1"))
    return name.replace(b"_", b"-") not in _FOR_SERVE
