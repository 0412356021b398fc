"""What is recorded of every request: its id, one line in the log, its metrics; and the error boundary around it."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.telemetry.metric import Recorder
from serve_app.errors import ClientClosedRequest, Internal, error_response
from serve_app.proxy.header_filter import REQUEST_ID_HEADER, is_loggable
from serve_app.telemetry.service_metrics import REQUEST, UNEXPECTED_EXCEPTION, outcome_of, record_request

_log = logging.getLogger("ray.serve.api")  # below Serve's own, whose files and format it shares

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})


class RequestId:
    """ASGI middleware: sets `request.state.request_id` and the header of every answer.

    Args:
        server_answers_it: the server in front draws an id where the client sent none, passes it on as the request's own
            header and adds it to the answer, as Serve's proxy does. A second one would contradict or repeat it.
    """

    def __init__(self, app: ASGIApp, *, server_answers_it: bool = False) -> None:
        self.app = app
        self._answers_it = not server_answers_it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = request_id_of(Headers(scope=scope))
        # A dict of the request's own: the server may give the same one to all requests.
        scope["state"] = {**scope.get("state", {}), "request_id": request_id}

        async def send_with_id(message: Message) -> None:
            if self._answers_it and message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        await self.app(scope, receive, send_with_id)


def request_id_of(headers: Headers) -> str:
    """The client's id where it sent one that may stand in a log line, else a new one."""
    sent = headers.getlist(REQUEST_ID_HEADER)
    if len(sent) == 1 and is_loggable(sent[0]):
        return sent[0]
    return uuid.uuid4().hex


class RequestMetrics:
    """ASGI middleware around ErrorBoundary: counts every request when it ends, by its route, model and outcome.

    It reads `model` and `error_type` (of the error that was answered) from `request.state`.

    Args:
        clock: seconds, monotonic.
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
            model = state.get("model", "none")
            record_request(self._recorder, route_of(scope), model, outcome, self._clock() - began_s)


class ErrorBoundary:
    """ASGI middleware inside RequestId: turns an unexpected exception into a 500, and logs one line for each request.

    Everything in the line is of the service's own making or checked: no prompt, no path, no header but the request id.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began_s = time.perf_counter()
        state = scope["state"]
        # Holds where no answer is begun: Serve cancels the handler of a client that hung up.
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
            # There may be any number of requests with a wrong key: those are counted (see `Authentication`).
            if "wrong_key" not in state:
                REQUEST.tell(
                    _log,
                    method=method_of(scope),
                    route=route_of(scope),
                    status=status,
                    seconds=round(time.perf_counter() - began_s, 4),
                    request_id=state["request_id"],
                    model=state.get("model", "none"),
                    generation=state.get("generation"),
                )


def method_of(scope: Scope) -> str:
    """The method where it is a known one, else `other`: the text of a client's making stays out of logs."""
    return str(scope["method"]) if scope["method"] in METHODS else "other"


def route_of(scope: Scope) -> str:
    """The path as the service declares it; `none` where no route was found."""
    return str(getattr(scope.get("route"), "path", "none"))
