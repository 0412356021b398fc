"""A stream behind a proxy that takes whatever it is given, and what keeps it from running ahead of its reader."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.errors import DeadlineExceeded
from serve_app.proxy.body_passing import PassBodyInScope
from serve_app.proxy.flow_control import ACKNOWLEDGED, WINDOW_BYTES, Acknowledgements, CreditWindow, middlewares
from serve_app.proxy.header_filter import HeaderFilter
from tests.serve_app.api.asgi import DISCONNECT, Exchange, post_scope
from tests.serve_app.api.asgi import body as request_body
from tests.serve_app.api.middleware.test_hangup import PATIENCE_S, assert_no_task_is_left, forever
from tests.serve_app.api.routes.test_music_stream import Pieces
from tests.serve_app.api.service import SAMPLE_RATE, call, service

TEN_SECONDS = {"prompt": "a tone", "music_length_ms": 10_000, "seed": 7}
NUM_PIECES = 50
PIECE_BYTES = 10 * 2 * SAMPLE_RATE // NUM_PIECES
ASKED = request_body(b'{"prompt": "a tone", "music_length_ms": 10000, "seed": 7}')
STREAM = post_scope([(b"content-type", b"application/json")], path="/v1/music/stream")


class Unlimited:
    """Stands between a server and an application as Serve does: takes every message at once, and hands it on later.

    held_bytes: the most of a body that it has held.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        queue: asyncio.Queue[Message | None] = asyncio.Queue()
        held = 0

        async def take(message: Message) -> None:
            nonlocal held
            held += len(message.get("body", b""))
            self.held_bytes = max(self.held_bytes, held)
            queue.put_nowait(message)

        async def run() -> None:
            try:
                await self.app(scope, receive, take)
            finally:
                queue.put_nowait(None)

        running = asyncio.create_task(run())
        while (message := await queue.get()) is not None:
            await send(message)
            held -= len(message.get("body", b""))
        await running


class Reader(Exchange):
    """A client behind a server that pushes back: takes a message whenever `takes` lets it."""

    def __init__(self, takes: Callable[[], Awaitable[object]]) -> None:
        super().__init__(ASKED)
        self.takes = takes

    async def send(self, message: Message) -> None:
        await self.takes()
        await super().send(message)

    @property
    def content(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])


def test_what_a_slow_reader_has_not_taken_stays_within_the_window_and_a_piece() -> None:
    serve = Unlimited(service(Pieces(NUM_PIECES)))
    reader = Reader(lambda: asyncio.sleep(0.002))
    asyncio.run(reader.run(Acknowledgements(serve), dict(STREAM)))
    assert reader.content == call(service(), "POST", "/v1/music", json=TEN_SECONDS).content
    assert serve.held_bytes <= WINDOW_BYTES + PIECE_BYTES


def test_where_nobody_acknowledges_a_stream_waits_for_nobody() -> None:
    async def scenario() -> None:
        backend = Pieces(NUM_PIECES)
        serve = Unlimited(service(backend))
        reader = Reader(backend.closed.wait)
        await asyncio.wait_for(reader.run(serve, dict(STREAM)), PATIENCE_S)
        assert serve.held_bytes == len(reader.content) > WINDOW_BYTES + PIECE_BYTES

    asyncio.run(scenario())


def test_a_stalled_reader_that_hangs_up_closes_the_stream() -> None:
    async def scenario() -> None:
        backend = Pieces(NUM_PIECES)
        reader = Reader(forever)
        serve = Unlimited(service(backend))
        running = asyncio.create_task(reader.run(Acknowledgements(serve), dict(STREAM)))
        while serve.held_bytes <= WINDOW_BYTES:
            await asyncio.sleep(0.001)
        assert backend.taken < NUM_PIECES
        reader.incoming.put_nowait(DISCONNECT)
        await asyncio.wait_for(backend.closed.wait(), PATIENCE_S)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert_no_task_is_left()

    asyncio.run(scenario())


def test_a_reader_that_sleeps_too_long_is_left() -> None:
    async def scenario() -> None:
        exchange = Exchange()
        scope = {**STREAM, "extensions": {ACKNOWLEDGED: {}}}
        limited = CreditWindow(scope, exchange.receive, exchange.send, stall_s=0.01)
        await limited.send({"type": "http.response.body", "body": bytes(WINDOW_BYTES + 1), "more_body": True})
        with pytest.raises(DeadlineExceeded, match="taken nothing"):
            await limited.send({"type": "http.response.body", "body": b"more"})
        assert len(exchange.sent) == 1

    asyncio.run(scenario())


def test_the_server_s_own_messages_and_the_acknowledgements_all_arrive() -> None:
    """In the application's eyes: the request, what was taken so far, and the end."""

    async def scenario() -> list[Message]:
        seen: list[Message] = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            assert ACKNOWLEDGED in scope["extensions"]
            seen.append(await receive())
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for content in (b"abc", b"de"):
                await send({"type": "http.response.body", "body": content, "more_body": True})
            seen.append(await receive())
            await send({"type": "http.response.body", "body": b"f", "more_body": False})
            exchange.incoming.put_nowait(DISCONNECT)
            seen.append(await receive())

        exchange = Exchange(ASKED)
        await exchange.run(Acknowledgements(app), dict(STREAM))
        assert_no_task_is_left()
        return seen

    assert asyncio.run(scenario()) == [ASKED, {"type": ACKNOWLEDGED, "num_bytes": 5}, DISCONNECT]


def test_an_answer_in_one_piece_and_what_is_no_request_pass_untouched() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"whole"})
        scopes.append(scope)

    scopes: list[Scope] = []
    exchange = Exchange()
    asyncio.run(exchange.run(Acknowledgements(app), {"type": "websocket"}))
    assert scopes == [{"type": "websocket"}]
    assert len(exchange.sent) == 2
    outermost_last: list[object] = [Acknowledgements, PassBodyInScope, HeaderFilter]
    assert [each.cls for each in middlewares()] == outermost_last
