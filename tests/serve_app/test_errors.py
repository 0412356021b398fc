from __future__ import annotations

import json
import pickle
from collections import Counter

import pytest

from serve_app import errors
from serve_app.errors import ServiceError, error_response, plain_name

EVERY_ERROR: tuple[ServiceError, ...] = (
    errors.MalformedRequest("m", param="Content-Length"),
    errors.InvalidRequest("m", param="prompt"),
    errors.Unauthorized("m"),
    errors.NotOpen("m"),
    errors.LicenseNotAccepted("m", param="model_id"),
    errors.PromptRefused("m", param="prompt"),
    errors.NotFound("m"),
    errors.MethodNotAllowed("m", allow=("GET", "POST")),
    errors.RequestTimeout("m"),
    errors.PayloadTooLarge("m"),
    errors.Conflict("m"),
    errors.Gone("m"),
    errors.UnsupportedMediaType("m", param="Content-Type"),
    errors.RangeNotSatisfiable("m", size_bytes=10),
    errors.OverLimit("m", retry_after_s=2),
    errors.TooBusy("m", retry_after_s=1.5),
    errors.ClientClosedRequest("m"),
    errors.Internal("m"),
    errors.WorkerLostTwice("m"),
    errors.NotReady("m", retry_after_s=2),
    errors.DeadlineExceeded("m"),
)


def test_the_list_above_is_the_whole_tree() -> None:
    assert {type(error) for error in EVERY_ERROR} == set(ServiceError.__subclasses__())


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: error.type)
def test_an_error_crosses_processes_whole(error: ServiceError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)
    assert copy.headers() == error.headers()


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: error.type)
def test_an_error_that_only_forwards_to_the_original_is_answered_alike(error: ServiceError) -> None:
    """Ray raises such a thing: of both classes, never initialised as ours, looking up what it lacks on its cause."""

    class Forwarding(RuntimeError, type(error)):  # type: ignore[misc]
        def __init__(self, cause: ServiceError) -> None:
            self.cause = cause

        def __getattr__(self, name: str) -> object:
            return getattr(self.cause, name)

    ours, forwarded = error_response(error), error_response(Forwarding(error))
    assert (forwarded.status_code, forwarded.body, forwarded.raw_headers) == (
        ours.status_code,
        ours.body,
        ours.raw_headers,
    )


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: error.type)
def test_every_answer_has_the_one_shape(error: ServiceError) -> None:
    response = error_response(error)
    assert response.status_code == error.status
    assert json.loads(bytes(response.body)) == {"error": {"type": error.type, "message": "m", "param": error.param}}


def test_types_tell_the_errors_apart_and_statuses_all_but_the_faults_of_the_service() -> None:
    assert len({error.type for error in EVERY_ERROR}) == len(EVERY_ERROR)
    by_status = Counter(error.status for error in EVERY_ERROR)
    assert [status for status, number in by_status.items() if number > 1] == [403, 429, 500]


@pytest.mark.parametrize(
    ("error", "header", "value"),
    [
        (errors.TooBusy("m"), "Retry-After", "5"),
        (errors.TooBusy("m", retry_after_s=1.2), "Retry-After", "2"),
        (errors.NotReady("m"), "Retry-After", "5"),
        (errors.MethodNotAllowed("m", allow=("GET", "HEAD")), "Allow", "GET, HEAD"),
        (errors.PayloadTooLarge("m"), "Connection", "close"),
    ],
)
def test_what_a_client_needs_to_go_on_is_in_the_headers(error: ServiceError, header: str, value: str) -> None:
    assert error_response(error).headers[header] == value


@pytest.mark.parametrize("name", ["", "a b", "x" * 41, "é", "a\n", "<b>", "\ud800", '"'])
def test_names_that_are_not_plain_are_not_repeated(name: str) -> None:
    assert plain_name(name) is None
    assert plain_name("top_K-2") == "top_K-2"


def test_a_request_that_lost_two_workers_is_told_what_helps_and_not_to_try_again() -> None:
    error = errors.WorkerLostTwice()
    assert "not tried again" in error.message
    assert "change the request, or report it" in error.message
    assert "Retry-After" not in error_response(error).headers
