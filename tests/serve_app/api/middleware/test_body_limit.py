from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.serve_app.api.asgi import Exchange, body, post_scope
from tests.serve_app.api.service import call, fault, service
from tests.virtual_time import run

LIMIT = 64 * 1024


def declared(length: bytes) -> tuple[bytes, bytes]:
    return (b"content-length", length)


@pytest.mark.parametrize("length", [b"65537", b"300000000", b"9" * 30, b"9" * 6_000])
def test_a_body_declared_too_long_is_refused_before_a_byte_is_read(length: bytes) -> None:
    async def scenario() -> Exchange:
        exchange = Exchange()
        await exchange.run(service(), post_scope([declared(length)]))
        return exchange

    exchange = asyncio.run(scenario())
    assert exchange.status == 413
    assert exchange.headers[b"connection"] == b"close"
    assert exchange.num_received == 0


def test_an_endless_body_is_read_to_the_limit_and_no_further() -> None:
    async def scenario() -> Exchange:
        exchange = Exchange(*(body(b" " * 16_384, more=True) for _ in range(100)))
        await exchange.run(service(), post_scope())
        return exchange

    exchange = asyncio.run(scenario())
    assert exchange.status == 413
    assert exchange.headers[b"connection"] == b"close"
    assert exchange.num_received == LIMIT // 16_384 + 1


def test_more_than_was_declared_is_counted_too() -> None:
    async def scenario() -> Exchange:
        exchange = Exchange(body(b" " * (LIMIT + 1)))
        await exchange.run(service(), post_scope([declared(b"10")]))
        return exchange

    assert asyncio.run(scenario()).status == 413


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("num_bytes", "status"), [(LIMIT, 200), (LIMIT + 1, 413)])
def test_the_limit_is_exact(num_bytes: int, status: int, chunked: bool) -> None:
    content = b'{"prompt": "a", "music_length_ms": 10}'.ljust(num_bytes)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 1_000):
            yield content[start : start + 1_000]

    response = call(service(), "POST", "/v1/music", content=chunks() if chunked else content)
    assert response.status_code == status
    if status == 413:
        assert fault(response)["type"] == "payload_too_large"


@pytest.mark.parametrize(
    "headers",
    [
        [declared(b"")],
        [declared(b"-1")],
        [declared(b"+1")],
        [declared(b"1e3")],
        [declared(b"0x10")],
        [declared(b"1_0")],
        [declared(b"\xb2")],
        [declared(b"2"), declared(b"3")],
    ],
)
def test_a_length_that_is_no_number_is_malformed(headers: list[tuple[bytes, bytes]]) -> None:
    async def scenario() -> Exchange:
        exchange = Exchange(body(b"{}"))
        await exchange.run(service(), post_scope(headers))
        return exchange

    exchange = asyncio.run(scenario())
    assert exchange.status == 400
    assert exchange.num_received == 0


def test_a_body_that_does_not_come_is_waited_for_so_long_and_no_longer() -> None:
    """A part of it came."""

    async def scenario() -> Exchange:
        exchange = Exchange(body(b"{", more=True))
        await exchange.run(service(body_timeout_s=5), post_scope())
        return exchange

    exchange = run(scenario())
    assert exchange.status == 408
    assert exchange.headers[b"connection"] == b"close"


def test_the_time_for_the_body_does_not_begin_anew_with_each_piece() -> None:
    async def scenario() -> float:
        exchange = Exchange()
        began_s = asyncio.get_running_loop().time()

        async def receive() -> dict[str, object]:
            await asyncio.sleep(1)
            return body(b" ", more=True)

        exchange.receive = receive  # type: ignore[method-assign]
        await exchange.run(service(body_timeout_s=5), post_scope())
        assert exchange.status == 408
        return asyncio.get_running_loop().time() - began_s

    assert run(scenario()) == 5
