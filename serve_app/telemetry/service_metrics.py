"""Metrics and log events of HTTP requests, models and nodes."""

from __future__ import annotations

from logging import ERROR, INFO

from deployments.telemetry.log_event import LogEvent
from deployments.telemetry.metric import Metric, Recorder
from serve_app import errors

# From a cached file to the longest clip on a slow machine.
_DURATIONS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_FIRST_AUDIO_S = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)

REQUEST = LogEvent(
    "request",
    INFO,
    "request method=%(method)s route=%(route)s status=%(status)s seconds=%(seconds)s request_id=%(request_id)s "
    "model=%(model)s",
    "A request came to its end.",
    more=("generation",),
)
UNEXPECTED_EXCEPTION = LogEvent(
    "unexpected_exception",
    ERROR,
    "unexpected exception request_id=%(request_id)s",
    "A request failed for a reason that nobody thought of: a fault of the service.",
    more=("generation",),
)
SPOOL_FAILED = LogEvent(
    "spool_failed",
    ERROR,
    "a finished file can't be put on the disk",
    "The ingress's folder for temporary files is full, or can't be written.",
)
REQUESTS = Metric(
    "musicgen_requests_total",
    "counter",
    "Requests that have ended. outcome: ok; left: the client hung up; broken: the answer began and broke off; "
    "else the type of the error, as the answer's body has it.",
    "requests",
    ("route", "model", "outcome"),
)
REQUEST_DURATION = Metric(
    "musicgen_request_duration_seconds",
    "histogram",
    "From a request's coming to the end of its answer, of those that ended ok.",
    "seconds",
    ("route",),
    _DURATIONS_S,
)
FIRST_AUDIO = Metric(
    "musicgen_time_to_first_audio_seconds",
    "histogram",
    "From a request's coming to the first sound that is sent, of streams.",
    "seconds",
    ("model", "cache"),
    _FIRST_AUDIO_S,
)
MODELS = Metric(
    "musicgen_models",
    "gauge",
    "1 for each model that is served, with or without an engine now.",
    "models",
    ("model",),
    across="max",
)

NODES = Metric("musicgen_nodes", "gauge", "Nodes of the cluster that are alive.", "nodes", ("market",), across="max")
NODES_ENDED = Metric(
    "musicgen_nodes_ended",
    "gauge",
    "Nodes that are gone, as far as Ray remembers them. reason: preempted, after a notice; lost, without; idle: the "
    "autoscaler ended it; ended: any other way.",
    "nodes",
    ("market", "reason"),
    across="max",
)
SCRAPED_NODES = Metric(
    "musicgen_scraped_nodes",
    "gauge",
    "Nodes asked for their figures by GET /metrics, which alone has this one. state: answered | missing.",
    "nodes",
    ("state",),
    across="max",
)

OK, LEFT, BROKEN = "ok", "left", "broken"

# The outcome of a status where the type of the error is not known: of several, the most general.
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
    """The outcome of a request. error_type: of the error that was sent, if that is known.

    is_whole: the whole response was sent. has_failed: the service failed after the response had begun.
    """
    if has_failed:
        return BROKEN
    if not is_whole or status == errors.ClientClosedRequest.status:
        return LEFT
    if status < 400:
        return OK
    return error_type or _BY_STATUS.get(status, errors.Internal.type)


def record_request(recorder: Recorder, route: str, model: str, outcome: str, seconds: float) -> None:
    """Records a request. route: its template. model: one on offer, or `none`. seconds: from its arrival to its end."""
    recorder.add(REQUESTS, route=route, model=model, outcome=outcome)
    if outcome == OK:
        recorder.observe(REQUEST_DURATION, seconds, route=route)
