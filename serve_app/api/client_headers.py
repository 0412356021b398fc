"""What a client may not tell Serve.

Serve's proxy, or the ingress replica where HAProxy stands in front, takes hints from the headers of any request: how
long it may run (a number below 0 is for ever), that its hang-up does not matter, and which replica is to have it. Those
are for the service to say.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.api import request_id

# In lower case and with hyphens: Serve takes some of them spelt with underscores too.
_FOR_SERVE = frozenset(
    {b"x-request-timeout-seconds", b"x-request-disconnect-disabled", b"x-session-id", b"serve-multiplexed-model-id"}
)
_REQUEST_ID = request_id.HEADER.lower().encode()


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
        return request_id.is_fit(value.decode("latin-1"))
    return name.replace(b"_", b"-") not in _FOR_SERVE
