from __future__ import annotations

import pytest

from serve_app import errors
from serve_app.errors import ServiceError
from serve_app.telemetry.service_metrics import REQUEST_DURATION, REQUESTS, outcome_of, record_request
from tests.deployments.telemetry.recorded import Recorded

ERRORS = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ServiceError)]


@pytest.mark.parametrize(
    ("status", "is_whole", "has_failed", "outcome"),
    [
        (200, True, False, "ok"),
        (304, True, False, "ok"),
        (206, False, False, "left"),
        (200, False, True, "broken"),
        (200, True, True, "broken"),
        (499, False, False, "left"),
        (499, True, False, "left"),
        (500, True, False, "internal"),
        (418, True, False, "internal"),
    ],
)
def test_an_answer_is_whole_or_left_or_broken(status: int, is_whole: bool, has_failed: bool, outcome: str) -> None:
    assert outcome_of(status, None, is_whole=is_whole, has_failed=has_failed) == outcome


@pytest.mark.parametrize("error", [each for each in ERRORS if each not in (ServiceError, errors.ClientClosedRequest)])
def test_an_error_goes_by_its_type_and_by_its_status_where_that_is_not_known(error: type[ServiceError]) -> None:
    assert outcome_of(error.status, error.type, is_whole=True, has_failed=False) == error.type
    alike = {each.type for each in ERRORS if each is not ServiceError and each.status == error.status}
    assert outcome_of(error.status, None, is_whole=True, has_failed=False) in alike


def test_only_whole_answers_have_a_duration() -> None:
    recorded = Recorded()
    for outcome in ("ok", "left", "internal"):
        record_request(recorded, "/v1/music", "m", outcome, 2.5)
    assert recorded.total(REQUESTS) == {("/v1/music", "m", outcome): 1 for outcome in ("ok", "left", "internal")}
    assert recorded.values(REQUEST_DURATION) == {("/v1/music",): [2.5]}
