"""Requests that have ended, as figures."""

from __future__ import annotations

from deployments.telemetry.metric import Recorder
from deployments.telemetry.metrics_catalogue import REQUEST_DURATION, REQUESTS
from serve_app import errors

OK, LEFT, BROKEN = "ok", "left", "broken"

# What a status stands for where the error's own type is not known: of several, the widest.
_BY_STATUS = {
    error.status: error.type
    for error in (
        errors.Conflict,
        errors.DeadlineExceeded,
        errors.Gone,
        errors.Internal,
        errors.InvalidRequest,
        errors.MalformedRequest,
        errors.MethodNotAllowed,
        errors.NotFound,
        errors.NotOpen,
        errors.NotReady,
        errors.OverLimit,
        errors.PayloadTooLarge,
        errors.RangeNotSatisfiable,
        errors.RequestTimeout,
        errors.Unauthorized,
        errors.UnsupportedMediaType,
    )
}


def outcome_of(status: int, error_type: str | None, *, is_whole: bool, has_failed: bool) -> str:
    """What a request came to. error_type: of the error that was answered, if that is known.

    is_whole: all of the answer was sent. has_failed: the service has, when its answer had begun.
    """
    if has_failed:
        return BROKEN
    if not is_whole or status == errors.ClientClosedRequest.status:
        return LEFT
    if status < 400:
        return OK
    return error_type or _BY_STATUS.get(status, errors.Internal.type)


def record_request(recorder: Recorder, route: str, model: str, outcome: str, seconds: float) -> None:
    """route: its template. model: one on offer, or `none`. seconds: from its coming to its end."""
    recorder.add(REQUESTS, route=route, model=model, outcome=outcome)
    if outcome == OK:
        recorder.observe(REQUEST_DURATION, seconds, route=route)
