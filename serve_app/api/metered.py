"""Every request counted when it ends, by its route, its model and what it came to."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.metrics.recorder import Recorder
from serve_app.api.errors import ClientClosedRequest
from serve_app.metrics.requests import outcome_of, record_request


class Metered:
    """ASGI middleware around Boundary. Of `request.state` it looks at: model, and error_type, that of the error which
    was answered. clock: seconds, monotonic.
    """

    def __init__(self, app: ASGIApp, recorder: Recorder, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.app = app
        self._recorder = recorder
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began_s, status = self._clock(), ClientClosedRequest.status
        is_whole = has_failed = False

        async def send_observed(message: Message) -> None:
            nonlocal is_whole, status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)
            is_whole = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await self.app(scope, receive, send_observed)
        except Exception:
            has_failed = True
            raise
        finally:
            state = scope["state"]
            outcome = outcome_of(status, state.get("error_type"), is_whole=is_whole, has_failed=has_failed)
            route, model = getattr(scope.get("route"), "path", "none"), state.get("model", "none")
            record_request(self._recorder, route, model, outcome, self._clock() - began_s)
