"""A small body travels with its request; whatever it is, the application gets what the client sent, once."""

from __future__ import annotations

import asyncio
import pickle

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.proxy.body_passing import MAX_PASSED_BYTES, PassBodyInScope, ReadBodyFromScope
from tests.serve_app.api.asgi import DISCONNECT, Exchange, body, post_scope
from tests.serve_app.api.middleware.test_hangup import assert_no_task_is_left


def declared(size: bytes | int) -> tuple[bytes, bytes]:
    return b"content-length", size if isinstance(size, bytes) else str(size).encode()


class Serve:
    """Stands between the two as Serve does: the scope is pickled, and a message is fetched only when asked for.

    fetched: what the application's side was sent through it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.fetched: list[Message] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def fetch() -> Message:
            self.fetched.append(await receive())
            return self.fetched[-1]

        await self.app(pickle.loads(pickle.dumps(scope)), fetch, send)


async def whole(app_side: list[bytes], hang_up: bool, scope: Scope, receive: Receive, send: Send) -> None:
    """An application that reads the body, and waits for the client to go if `hang_up`."""
    while True:
        message = await receive()
        app_side.append(message["body"])
        if not message.get("more_body", False):
            break
    if hang_up:
        assert (await receive()) == DISCONNECT


def run(
    headers: list[tuple[bytes, bytes]], *messages: Message, taken: bool = True, hang_up: bool = False
) -> tuple[bytes, list[Message]]:
    """What the application read, and what had to be fetched for it."""
    read: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await whole(read, hang_up, scope, receive, send)

    serve = Serve(ReadBodyFromScope(app) if taken else app)

    async def scenario() -> None:
        await Exchange(*messages).run(PassBodyInScope(serve), post_scope(headers))
        assert_no_task_is_left()

    asyncio.run(scenario())
    return b"".join(read), serve.fetched


def test_a_small_body_comes_without_being_fetched() -> None:
    assert run([declared(4)], body(b"{12}")) == (b"{12}", [])
    assert run([declared(0)], body(b"")) == (b"", [])


def test_who_waits_for_the_client_to_go_gets_the_body_once() -> None:
    read, fetched = run([declared(4)], body(b"{12}"), DISCONNECT, hang_up=True)
    assert read == b"{12}"
    assert fetched == [body(b"{12}"), DISCONNECT]


def test_an_application_that_knows_nothing_of_it_gets_the_body_as_ever() -> None:
    assert run([declared(4)], body(b"{12}"), taken=False) == (b"{12}", [body(b"{12}")])


@pytest.mark.parametrize(
    ("headers", "messages"),
    [
        ([declared(4)], [body(b"{1", more=True), body(b"2}")]),
        ([declared(MAX_PASSED_BYTES + 1)], [body(b"x" * (MAX_PASSED_BYTES + 1))]),
        ([declared(b"9" * 30)], [body(b"{12}")]),
        ([declared(b"+4")], [body(b"{12}")]),
        ([declared(4), declared(4)], [body(b"{12}")]),
        ([], [body(b"{12}")]),
    ],
    ids=["in pieces", "large", "of no length there is", "not a number", "declared twice", "not declared"],
)
def test_any_other_body_is_fetched(headers: list[tuple[bytes, bytes]], messages: list[Message]) -> None:
    read, fetched = run(headers, *messages)
    assert read == b"".join(message["body"] for message in messages)
    assert fetched == messages


def test_a_body_larger_than_declared_is_not_enclosed() -> None:
    read, fetched = run([declared(4)], body(b"x" * (MAX_PASSED_BYTES + 1)))
    assert len(read) == MAX_PASSED_BYTES + 1
    assert len(fetched) == 1


def test_a_body_that_comes_late_is_waited_for_by_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.proxy.body_passing.WAIT_S", 0.0)
    read: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        exchange.incoming.put_nowait(body(b"{12}"))
        await whole(read, False, scope, receive, send)

    exchange = Exchange()

    async def scenario() -> None:
        await exchange.run(PassBodyInScope(ReadBodyFromScope(app)), post_scope([declared(4)]))
        assert_no_task_is_left()

    asyncio.run(scenario())
    assert read == [b"{12}"]


def test_who_gives_up_waiting_for_the_body_loses_nothing_of_it() -> None:
    """As Serve's proxy does: it cancels the call and makes another."""
    read: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        first = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        exchange.incoming.put_nowait(body(b"{12}"))
        read.append(await receive())

    exchange = Exchange()

    async def scenario() -> None:
        await exchange.run(PassBodyInScope(app), post_scope([declared(4)]))
        assert_no_task_is_left()

    asyncio.run(scenario())
    assert read == [body(b"{12}")]


def test_whoever_leaves_leaves_nothing_behind() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ArithmeticError

    async def scenario() -> None:
        with pytest.raises(ArithmeticError):
            await Exchange().run(PassBodyInScope(app), post_scope([declared(4)]))
        assert_no_task_is_left()

    asyncio.run(scenario())
