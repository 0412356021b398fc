"""Who is let in, and with what name."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.routing import Route

from serve_app.api.app import create_app
from serve_app.api.middleware.authentication import Authentication
from serve_app.auth.gate import MAX_FAILURES_PER_MINUTE
from serve_app.settings.application import HttpSettings
from tests.serve_app.api.asgi import DISCONNECT, Exchange, body, post_scope
from tests.serve_app.api.service import SineBackend, fault
from tests.serve_app.auth.clock import until
from tests.serve_app.auth.gates import house, run
from tests.serve_app.auth.stores import HeldKeys, unreachable

OPEN = {"/", "/health", "/ready", "/docs", "/docs/oauth2-redirect", "/openapi.json", "/metrics"}


def same(answer: httpx.Response) -> tuple[int, bytes, list[tuple[str, str]]]:
    """All of an answer but the request's own name."""
    return answer.status_code, answer.content, [each for each in answer.headers.items() if each[0] != "x-request-id"]


def test_a_right_key_names_its_tenant_in_either_header() -> None:
    async def test() -> None:
        keys = HeldKeys()
        key = keys.make("blue")
        async with house(keys=keys) as replica:
            for headers in ({"authorization": f"Bearer {key.text}"}, {"xi-api-key": key.text}):
                answer = await replica.ask("GET", "/v1/who", headers=headers)
                assert answer.status_code == 200
                who = answer.json()
                assert (who["tenant"], who["key_id"], who["scope"]) == ("blue", key.id, "blue")

    run(test)


def test_where_the_cache_is_shared_the_tenants_have_one_scope() -> None:
    async def test() -> None:
        keys = HeldKeys()
        async with house(keys=keys, share_cache=True) as replica:
            who = (await replica.ask("GET", "/v1/who", keys.make("blue").text)).json()
            assert (who["tenant"], who["scope"]) == ("blue", "")

    run(test)


def test_without_keys_everybody_is_the_one_caller() -> None:
    async def test() -> None:
        async with house() as replica:
            who = (await replica.ask("GET", "/v1/who", "whatever")).json()
            assert (who["tenant"], who["key_id"], who["scope"]) == ("local", "", "")

    run(test)


def test_the_key_goes_no_further_than_the_door() -> None:
    async def test() -> None:
        keys = HeldKeys()
        key = keys.make().text
        async with house(keys=keys) as replica:
            headers = {"authorization": f"Bearer {key}", "xi-api-key": key, "x-other": "stays"}
            inside = (await replica.ask("GET", "/v1/who", headers=headers)).json()["headers"].split(",")
            assert "x-other" in inside
            assert not {"authorization", "xi-api-key"} & set(inside)

    run(test)


def test_every_kind_of_wrong_gets_one_answer() -> None:
    async def test() -> None:
        keys = HeldKeys()
        key = keys.make().text
        async with house(keys=keys) as replica:
            wrong: list[list[tuple[str, str]]] = [
                [],
                [("authorization", "Bearer")],
                [("authorization", key)],
                [("authorization", f"Basic {key}")],
                [("authorization", f"Bearer {key}x")],
                [("authorization", f"Bearer {key}"), ("authorization", f"Bearer {key}")],
                [("xi-api-key", key), ("xi-api-key", key)],
                [("xi-api-key", key), ("authorization", "Bearer other")],
                [("xi-api-key", key[:-1] + ("a" if key[-1] != "a" else "b"))],
                [("xi-api-key", "mgs_0123456789abcdef_" + 43 * "a")],
                [("xi-api-key", 60_000 * "x")],
            ]
            for method, path in (("GET", "/v1/who"), ("POST", "/v1/music"), ("DELETE", "/v1/nowhere")):
                answers = [await replica.ask(method, path, headers=headers) for headers in wrong]
                assert len({str(same(answer)) for answer in answers}) == 1
                assert fault(answers[0])["type"] == "unauthorized"
                assert answers[0].status_code == 401
                assert answers[0].headers["www-authenticate"] == "Bearer"

    run(test)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"authorization", b"xi-api-key", b"Authorization"]),
            st.binary() | st.binary().map(b"Bearer ".__add__) | st.sampled_from([b"RIGHT", b"Bearer RIGHT"]),
        ),
        max_size=3,
    )
)
def test_whatever_bytes_come_they_are_right_or_401(headers: list[tuple[bytes, bytes]]) -> None:
    async def test() -> None:
        keys = HeldKeys()
        key = keys.make().text.encode()
        async with house(keys=keys) as replica:
            sent = [(name, value.replace(b"RIGHT", key)) for name, value in headers]
            exchange = Exchange(body(b""), DISCONNECT)
            await exchange.run(replica.app, {**post_scope(sent, "/v1/who"), "method": "GET"})
            names = [name.lower() for name, _ in headers]
            is_right = len(names) == len(set(names)) > 0 and all(
                value == (b"RIGHT" if name == b"xi-api-key" else b"Bearer RIGHT")
                for name, value in zip(names, [value for _, value in headers], strict=True)
            )
            assert exchange.status == (200 if is_right else 401)

    run(test)


def test_what_is_not_below_v1_asks_nobody_and_every_other_route_does() -> None:
    async def test() -> None:
        async with house(keys=HeldKeys()) as replica:
            assert (await replica.ask("GET", "/health")).status_code == 200
            assert (await replica.ask("GET", "/v2")).status_code == 404
            assert (await replica.ask("GET", "/v1")).status_code == 401
            assert (await replica.ask("GET", "/%761/who")).status_code == 401
            assert (await replica.audited())[0].route == "none"
            assert len(await replica.audited()) == 2

    run(test)
    app = create_app(SineBackend(), HttpSettings())
    paths = {route.path for route in app.routes if isinstance(route, Route)} | app.openapi()["paths"].keys()
    assert "/v1/music" in paths
    assert {path for path in paths if not path.startswith("/v1/")} <= OPEN


def test_below_a_route_prefix_the_same_paths_ask_for_a_key() -> None:
    async def test() -> None:
        async with house(keys=HeldKeys()) as replica:
            for root, path, status in (
                ("/music", "/music/v1/who", 401),
                ("/music", "/v1/who", 401),
                ("/v1", "/v1/v1/who", 401),
                ("/v1", "/v1/health", 200),
                ("/mus", "/music/health", 404),
            ):
                exchange = Exchange(body(b""), DISCONNECT)
                scope = {**post_scope(path=path), "method": "GET", "root_path": root}
                await exchange.run(replica.app, scope)
                assert exchange.status == status, (root, path)

    run(test)


def test_many_wrong_keys_from_one_address_get_429_and_a_right_one_is_let_in() -> None:
    async def test() -> None:
        keys = HeldKeys()
        key = keys.make().text
        async with house(keys=keys) as replica:
            for _ in range(MAX_FAILURES_PER_MINUTE):
                assert (await replica.ask("GET", "/v1/who", "wrong")).status_code == 401
            for wrong in ("wrong", "", "mgs_0123456789abcdef_" + 43 * "a"):
                answer = await replica.ask("GET", "/v1/who", wrong)
                assert answer.status_code == 429
                assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert (await replica.ask("GET", "/v1/who", key)).status_code == 200

    run(test)


def test_ten_thousand_wrong_keys_let_none_in_and_leave_a_log_that_can_be_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        keys = HeldKeys()
        keys.make()
        async with house(keys=keys) as replica:
            seen = set()
            for number in range(10_000):
                exchange = Exchange(body(b""))
                wrong = (f"mgs_{number:016x}_" + 43 * "a").encode()
                await exchange.run(replica.app, post_scope([(b"xi-api-key", wrong)]))
                seen.add(exchange.status)
            assert seen == {401, 429}
            assert replica.num_inside == 0
            await until(lambda: len(replica.lines.records) == 10_000)
            assert {record.status for record in replica.lines.records} == {401, 429}
            assert replica.gate.faults.counts["wrong API key"] == 10_000
            assert keys.num_calls < 100

    with caplog.at_level(logging.INFO):
        run(test)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) <= 4
    assert any("wrong API key" in line for line in told)
    assert "mgs_" not in caplog.text


def test_before_the_keys_are_read_everybody_is_told_to_come_again() -> None:
    async def test() -> None:
        keys = HeldKeys()
        key = keys.make().text
        keys.error = unreachable()
        async with house(keys=keys) as replica:
            for each in (key, "wrong"):
                answer = await replica.ask("GET", "/v1/who", each)
                assert fault(answer)["type"] == "not_ready"
                assert answer.headers["retry-after"] == "5"

    run(test)


@pytest.mark.parametrize(
    ("server", "status"),
    [
        (("127.0.0.1", 8000), 200),
        (("::1", 8000), 200),
        (("/run/socket", None), 200),
        (("10.0.0.7", 8000), 403),
        (("::ffff:10.0.0.7", 8000), 403),
        (("fe80::7", 8000), 403),
    ],
)
def test_without_keys_only_requests_of_this_machine_are_served(server: Any, status: int) -> None:
    async def test() -> None:
        for keys, expected in ((None, status), (HeldKeys(), 401)):
            async with house(keys=keys) as replica:
                exchange = Exchange(body(b""), DISCONNECT)
                await exchange.run(replica.app, {**post_scope(path="/v1/who"), "method": "GET", "server": server})
                assert exchange.status == expected

    run(test)


def test_other_kinds_of_connections_pass_as_they_are() -> None:
    passed = []

    async def inner(scope: Any, *_: object) -> None:
        passed.append(scope["type"])

    async def test() -> None:
        async with house(keys=HeldKeys()) as replica:
            await Exchange().run(Authentication(inner, replica.gate), {"type": "lifespan"})
            assert passed == ["lifespan"]

    run(test)
