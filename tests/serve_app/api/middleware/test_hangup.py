"""What happens to the work of a client that goes away, in process and over a socket."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.api.middleware.disconnects import while_connected
from serve_app.errors import ClientClosedRequest, DeadlineExceeded, Internal
from tests.serve_app.api.asgi import DISCONNECT, Exchange, body, post_scope
from tests.serve_app.api.service import SineBackend, compose, fault, service

# Longer than anything takes here; nothing waits for it to pass.
PATIENCE_S = 10.0
MUSIC = b'{"prompt": "a", "music_length_ms": 10}'


class Endless:
    """Work that ends only by being cancelled, and says when it began and when it has ended."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, *_: object) -> Any:
        self.began.set()
        try:
            await forever()
        finally:
            self.cancelled.set()


async def forever(*_: object) -> Any:
    await asyncio.get_running_loop().create_future()


def assert_no_task_is_left() -> None:
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_disconnect_cancels_the_work_and_waits_for_its_end() -> None:
    async def scenario() -> None:
        endless, exchange = Endless(), Exchange()
        waiting = asyncio.create_task(while_connected(endless(), exchange.receive, PATIENCE_S))
        await endless.began.wait()
        exchange.incoming.put_nowait(DISCONNECT)
        with pytest.raises(ClientClosedRequest):
            await waiting
        assert endless.cancelled.is_set()
        assert_no_task_is_left()

    asyncio.run(scenario())


def test_cancelling_the_caller_cancels_the_work() -> None:
    async def scenario() -> None:
        endless = Endless()
        waiting = asyncio.create_task(while_connected(endless(), forever, PATIENCE_S))
        await endless.began.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert endless.cancelled.is_set()
        assert_no_task_is_left()

    asyncio.run(scenario())


def test_the_deadline_cancels_the_work() -> None:
    async def scenario() -> None:
        endless = Endless()
        with pytest.raises(DeadlineExceeded):
            await while_connected(endless(), forever, deadline_s=0.01)
        assert endless.cancelled.is_set()
        assert_no_task_is_left()

    asyncio.run(scenario())


@pytest.mark.parametrize("failure", [ValueError("x"), None])
def test_a_result_or_an_error_comes_through_and_stops_the_watch(failure: Exception | None) -> None:
    async def work() -> str:
        if failure is not None:
            raise failure
        return "clip"

    async def scenario() -> None:
        if failure is None:
            assert await while_connected(work(), forever, PATIENCE_S) == "clip"
        else:
            with pytest.raises(ValueError, match="x"):
                await while_connected(work(), forever, PATIENCE_S)
        assert_no_task_is_left()

    asyncio.run(scenario())


def test_work_cancelled_from_elsewhere_is_a_fault_of_the_service() -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(Internal):
        asyncio.run(while_connected(work(), forever, PATIENCE_S))


def test_what_comes_before_the_disconnect_is_no_disconnect() -> None:
    async def scenario() -> str:
        exchange = Exchange(body(b""))
        release = asyncio.Event()

        async def work() -> str:
            await release.wait()
            return "clip"

        waiting = asyncio.create_task(while_connected(work(), exchange.receive, PATIENCE_S))
        await exchange.incoming.join()
        release.set()
        return await waiting

    assert asyncio.run(scenario()) == "clip"


def test_the_route_cancels_the_backend_when_its_client_goes() -> None:
    async def scenario() -> Exchange:
        endless = Endless()
        exchange = Exchange(body(MUSIC))
        running = asyncio.create_task(exchange.run(service(SineBackend(endless)), post_scope()))
        await endless.began.wait()
        exchange.incoming.put_nowait(DISCONNECT)
        await asyncio.wait_for(running, 1)
        assert endless.cancelled.is_set()
        assert_no_task_is_left()
        return exchange

    assert asyncio.run(scenario()).status == 499


def test_the_route_cancels_the_backend_when_the_handler_is_cancelled() -> None:
    async def scenario() -> None:
        endless = Endless()
        exchange = Exchange(body(MUSIC))
        running = asyncio.create_task(exchange.run(service(SineBackend(endless)), post_scope()))
        await endless.began.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert endless.cancelled.is_set()
        assert exchange.sent == []
        assert_no_task_is_left()

    asyncio.run(scenario())


def test_a_client_that_goes_while_it_sends_its_body_begins_nothing() -> None:
    async def scenario() -> tuple[Exchange, SineBackend]:
        backend = SineBackend()
        exchange = Exchange(body(b'{"prom', more=True), DISCONNECT)
        await exchange.run(service(backend), post_scope())
        return exchange, backend

    exchange, backend = asyncio.run(scenario())
    assert exchange.status == 499
    assert not backend.requests


def test_a_clip_that_takes_too_long_is_a_504() -> None:
    response = compose(service(SineBackend(forever), deadline_s=0.01))
    assert response.status_code == 504
    assert fault(response)["type"] == "deadline_exceeded"


class Served:
    """An app that tells when a request to it is over."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.over = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        finally:
            self.over.set()


Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def over_a_socket(app: ASGIApp, conversation: Conversation) -> None:
    """Serves the app by uvicorn on a free loopback port for as long as the conversation lasts."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, lifespan="off", ws="none", log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        await conversation(reader, writer)
        writer.close()
    finally:
        server.should_exit = True
        await serving


def post(content: bytes) -> bytes:
    return b"POST /v1/music HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)


def test_a_socket_that_closes_early_frees_the_backend_within_a_second() -> None:
    async def scenario() -> None:
        endless = Endless()
        app = Served(service(SineBackend(endless)))

        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(post(MUSIC))
            await asyncio.wait_for(endless.began.wait(), PATIENCE_S)
            writer.close()
            await asyncio.wait_for(endless.cancelled.wait(), 1)
            await asyncio.wait_for(app.over.wait(), 1)

        await over_a_socket(app, hang_up)
        assert_no_task_is_left()

    asyncio.run(scenario())


def test_a_client_that_stays_gets_its_clip_over_the_socket() -> None:
    async def scenario() -> bytes:
        answer = b""

        async def stay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal answer
            writer.write(post(MUSIC))
            answer = await reader.readuntil(b"\r\n\r\n")

        await over_a_socket(service(), stay)
        assert_no_task_is_left()
        return answer

    assert asyncio.run(scenario()).startswith(b"HTTP/1.1 200 OK")


def test_a_chunked_body_beyond_the_limit_closes_the_connection() -> None:
    async def scenario() -> bytes:
        answer = b""

        async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal answer
            writer.write(b"POST /v1/music HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            writer.write(b"4000\r\n%s\r\n" % (b" " * 0x4000) * 5)
            answer = await reader.read()

        await over_a_socket(service(), flood)
        return answer

    head, _, content = asyncio.run(scenario()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in head.lower()
    assert json.loads(content)["error"]["type"] == "payload_too_large"
