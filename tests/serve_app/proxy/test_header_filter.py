"""What a client sends to steer Serve does not reach it: neither by its proxy's own reading nor by any other."""

from __future__ import annotations

import asyncio

import pytest
from ray.serve._private import constants, http_util
from starlette.types import Receive, Scope, Send

from serve_app.proxy.header_filter import HeaderFilter
from tests.serve_app.api.asgi import Exchange, post_scope

Header = tuple[bytes, bytes]


def passed_on(*headers: Header) -> list[Header]:
    """What is left of a request's headers."""
    seen: list[Header] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend(scope["headers"])

    scope = post_scope(headers)
    asyncio.run(Exchange().run(HeaderFilter(app), scope))
    assert scope["headers"] == list(headers), "the server's own scope is as it was"
    return seen


def as_serve_reads(headers: list[Header]) -> tuple[object, ...]:
    """What Ray 2.60's proxy, or the replica behind HAProxy, takes from a request's headers."""
    by_name = dict(headers)
    return (
        http_util.parse_request_timeout_header(by_name, 600.0),
        http_util.parse_disconnect_disabled_header(by_name),
        http_util.parse_session_id_header(by_name),
        [
            value
            for name, value in headers
            if name.decode().lower().replace("-", "_") == constants.SERVE_MULTIPLEXED_MODEL_ID
        ],
    )


@pytest.mark.parametrize(
    "header",
    [
        (b"x-request-timeout-seconds", b"-1"),
        (b"x-request-timeout-seconds", b"0.001"),
        (b"x-request-timeout-seconds", b"\xff"),
        (b"x-request-disconnect-disabled", b"?1"),
        (b"x-session-id", b"one replica for all of mine"),
        (b"x_session_id", b"one replica"),
        (b"X-Session_Id", b"\xff"),
        (b"serve_multiplexed_model_id", b"m"),
        (b"serve-multiplexed-model-id", b"\xff"),
    ],
)
def test_what_steers_serve_does_not_pass(header: Header) -> None:
    host = (b"host", b"service")
    assert passed_on(host, header, header) == [host]
    assert as_serve_reads(passed_on(host, header)) == as_serve_reads([host])


@pytest.mark.parametrize("name", ["timeout", "disconnect", "session"])
def test_the_headers_left_out_are_those_that_serve_reads(name: str) -> None:
    """If Serve calls them otherwise one day, this fails."""
    sent = {
        "timeout": (constants.SERVE_HTTP_REQUEST_TIMEOUT_S_HEADER, b"-1"),
        "disconnect": (constants.SERVE_HTTP_REQUEST_DISCONNECT_DISABLED_HEADER, b"?1"),
        "session": (constants.SERVE_SESSION_ID, b"mine"),
    }
    header = (sent[name][0].encode(), sent[name][1])
    assert as_serve_reads([header]) != as_serve_reads([])
    assert passed_on(header) == []


def test_all_else_passes_in_its_order() -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"x-request-id", b"mine.1"),
        (b"x-session", b"1"),
        (b"x-request-timeout", b"1"),
        (b"accept", b"*/*"),
        (b"accept", b"audio/wav"),
    ]
    assert passed_on(*headers) == headers


@pytest.mark.parametrize("unfit", [b"", b"two words", b"x" * 129, b"\xff", b'{"a":1}'])
def test_an_id_unfit_for_the_log_is_left_out_so_that_serve_draws_one(unfit: bytes) -> None:
    assert passed_on((b"x-request-id", unfit)) == []


def test_a_scope_without_headers_passes_untouched() -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)

    asyncio.run(Exchange().run(HeaderFilter(app), {"type": "lifespan"}))
    assert scopes == [{"type": "lifespan"}]
