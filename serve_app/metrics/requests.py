"""Requests that have ended, as figures."""

from __future__ import annotations

from deployments.metrics.catalogue import REQUEST_DURATION, REQUESTS
from deployments.metrics.recorder import Recorder
from serve_app.api.errors import (
    ClientClosedRequest,
    Conflict,
    DeadlineExceeded,
    Gone,
    Internal,
    InvalidRequest,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    NotOpen,
    NotReady,
    OverLimit,
    PayloadTooLarge,
    RangeNotSatisfiable,
    RequestTimeout,
    ServiceError,
    Unauthorized,
    UnsupportedMediaType,
)

OK, LEFT, BROKEN = "ok", "left", "broken"

_ERRORS: tuple[type[ServiceError], ...] = (
    Conflict,
    DeadlineExceeded,
    Gone,
    Internal,
    InvalidRequest,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    NotOpen,
    NotReady,
    OverLimit,
    PayloadTooLarge,
    RangeNotSatisfiable,
    RequestTimeout,
    Unauthorized,
    UnsupportedMediaType,
)
_BY_STATUS = {error.status: error.type for error in _ERRORS}


def outcome_of(status: int, error_type: str | None, *, is_whole: bool, has_failed: bool) -> str:
    """What a request came to. error_type: of the error that was answered, if that is known.

    is_whole: all of the answer was sent. has_failed: the service has, when its answer had begun.
    """
    if has_failed:
        return BROKEN
    if not is_whole or status == ClientClosedRequest.status:
        return LEFT
    if status < 400:
        return OK
    return error_type or _BY_STATUS.get(status, Internal.type)


def record_request(recorder: Recorder, route: str, model: str, outcome: str, seconds: float) -> None:
    """route: its template. model: one on offer, or `none`. seconds: from its coming to its end."""
    recorder.add(REQUESTS, route=route, model=model, outcome=outcome)
    if outcome == OK:
        recorder.observe(REQUEST_DURATION, seconds, route=route)
