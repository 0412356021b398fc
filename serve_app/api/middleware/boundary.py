"""The boundary between requests and the log: one line for each, and no exception gets past it.

Every request counted when it ends, by its route, its model and what it came to.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.telemetry.metric import Recorder
from serve_app.errors import ClientClosedRequest, Internal, error_response
from serve_app.telemetry.service_metrics import REQUEST, UNEXPECTED_EXCEPTION, outcome_of, record_request

_log = logging.getLogger("ray.serve.api")  # below Serve's own, whose files and format it shares

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})


class Boundary:
    """ASGI middleware inside RequestId: turns an unexpected exception into a 500, and logs.

    What is logged is of our own making or checked: no prompt, no path, no header but the request id.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began_s = time.perf_counter()
        state = scope["state"]
        # What stands if no answer is begun: Serve cancels the handler of a client that hung up.
        status = ClientClosedRequest.status
        started = False

        async def send_observed(message: Message) -> None:
            nonlocal started, status
            if message["type"] == "http.response.start":
                started, status = True, message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_observed)
        except Exception as error:
            UNEXPECTED_EXCEPTION.tell(_log, error, request_id=state["request_id"], generation=state.get("generation"))
            if started:
                # Too late for another answer: only a broken connection tells the client that this one is not whole.
                raise
            answer = error_response(Internal("The service failed; the request id finds the cause in its log."))
            await answer(scope, receive, send_observed)
        finally:
            # Of those without a right key there may be any number: they are counted (see `Access`).
            if "turned_away" not in state:
                REQUEST.tell(
                    _log,
                    method=scope["method"] if scope["method"] in METHODS else "other",
                    route=getattr(scope.get("route"), "path", "none"),
                    status=status,
                    seconds=round(time.perf_counter() - began_s, 4),
                    request_id=state["request_id"],
                    model=state.get("model", "none"),
                    generation=state.get("generation"),
                )


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
