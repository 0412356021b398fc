from __future__ import annotations

import asyncio
import logging

import numpy as np
import pytest

from deployments.messages import Clip, MusicRequest
from serve_app.api.middleware.observability import ErrorBoundary
from serve_app.errors import InvalidRequest, NotReady, ServiceError, TooBusy
from serve_app.api.middleware.observability import RequestId
from tests.serve_app.api.asgi import Exchange, body, post_scope
from tests.serve_app.api.service import SineBackend, call, compose, fault, service

LOGGER = "ray.serve.api"


def failing(error: BaseException) -> SineBackend:
    async def fail(_: MusicRequest) -> Clip:
        raise error

    return SineBackend(fail)


def events(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == LOGGER]


def test_a_request_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, LOGGER):
        answer = compose(service(), prompt="canary-7f3a")
    (event,) = events(caplog)
    text = event.getMessage()
    assert text.startswith("request method=POST route=/v1/music status=200 seconds=")
    assert text.endswith("model=etude")
    assert vars(event)["status"] == 200
    assert len(vars(event)["request_id"]) == 32
    assert vars(event)["generation"] == answer.headers["x-generation-id"]
    assert "canary" not in caplog.text


def test_what_a_client_makes_up_is_not_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, LOGGER):
        call(service(), "CANARY", "/canary%0a%1b", params={"canary": "canary"}, headers={"x-request-id": "canary\x1b"})
    (event,) = events(caplog)
    assert "canary" not in event.getMessage().lower()
    assert event.getMessage().startswith("request method=other route=none status=404")


def test_an_unexpected_exception_is_a_500_and_logged_once_with_its_request(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, LOGGER):
        response = compose(service(failing(ZeroDivisionError("secret"))), prompt="canary-7f3a")
    assert response.status_code == 500
    assert fault(response)["type"] == "internal"
    assert "secret" not in response.text
    failure, request = events(caplog)
    assert failure.exc_info is not None
    assert failure.exc_info[0] is ZeroDivisionError
    request_id = response.headers["x-request-id"]
    assert failure.getMessage() == f"unexpected exception request_id={request_id}"
    assert vars(request)["status"] == 500
    assert vars(request)["request_id"] == request_id
    assert "canary" not in caplog.text


def test_a_clip_that_is_no_sound_is_a_500() -> None:
    async def silence(_: MusicRequest) -> Clip:
        return Clip(np.full((1, 8), np.nan, np.float32), 32_000, np.zeros((4, 1), np.int16))

    assert compose(service(SineBackend(silence))).status_code == 500


@pytest.mark.parametrize(
    ("error", "status"),
    [(TooBusy("m", retry_after_s=7), 429), (NotReady("m", retry_after_s=7), 503), (InvalidRequest("m"), 422)],
)
def test_the_backends_own_errors_are_answered_and_not_logged_as_failures(
    error: ServiceError, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, LOGGER):
        response = compose(service(failing(error)))
    assert response.status_code == status
    assert fault(response)["type"] == error.type
    assert response.headers.get("retry-after") == (None if status == 422 else "7")
    assert [event.levelno for event in events(caplog)] == [logging.INFO]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_what_stops_the_process_passes_through(interrupt: type[BaseException]) -> None:
    async def stop(*_: object) -> None:
        raise interrupt

    async def scenario() -> None:
        with pytest.raises(interrupt):
            await Exchange().run(RequestId(ErrorBoundary(stop)), post_scope())

    asyncio.run(scenario())


def test_a_failure_in_the_middle_of_an_answer_breaks_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async def half(_: object, __: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
        raise ZeroDivisionError

    async def scenario() -> Exchange:
        exchange = Exchange(body(b""))
        with pytest.raises(ZeroDivisionError):
            await exchange.run(RequestId(ErrorBoundary(half)), post_scope())
        return exchange

    exchange = asyncio.run(scenario())
    assert [message["type"] for message in exchange.sent] == ["http.response.start"]
