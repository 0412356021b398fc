"""The boundary between requests and the log: one line for each, and no exception gets past it."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.logs.catalogue import REQUEST, UNEXPECTED_EXCEPTION
from serve_app.api.errors import ClientClosedRequest, Internal, error_response

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
