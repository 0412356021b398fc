"""What is kept answers for what would be made: the same bytes and headers, whichever way they came."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, get_args

import httpx
import pytest
from fastapi import FastAPI

from deployments.messages import Outcome
from serve_app.api.routes import music as routes
from serve_app.api.music_response import StreamBufferPool
from serve_app.sound.containers import CONTAINER_FORMATS
from tests.serve_app.api.asgi import DISCONNECT, Exchange, body, post_scope
from tests.serve_app.api.middleware.test_hangup import PATIENCE_S, assert_no_task_is_left, forever
from tests.serve_app.api.routes.test_music_stream import Pieces, failing_after
from tests.serve_app.api.service import AGE_S, SineBackend, call, fault, service

WHOLE, STREAM = "/v1/music", "/v1/music/stream"
BOTH = pytest.mark.parametrize("path", [WHOLE, STREAM])
# What differs between two answers of the same music, and nothing else may.
OF_THE_ANSWER = {"x-cache", "age", "server-timing", "x-request-id", "content-length"}


def ask(app: FastAPI, path: str = WHOLE, name: str = "wav", length_ms: int = 1200, **fields: Any) -> httpx.Response:
    content = {"prompt": "a tone", "music_length_ms": length_ms, **fields}
    return call(app, "POST", f"{path}?output_format={name}", json=content)


def of_the_music(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in OF_THE_ANSWER}


def said(answer: httpx.Response) -> tuple[str, str | None]:
    return answer.headers["x-cache"], answer.headers.get("age")


@BOTH
@pytest.mark.parametrize("name", list(CONTAINER_FORMATS))
@pytest.mark.parametrize("fields", [{}, {"seed": 7}])
def test_asked_twice_made_once(path: str, name: str, fields: dict[str, int]) -> None:
    backend = SineBackend()
    app = service(backend)
    first, second = ask(app, path, name, **fields), ask(app, path, name, **fields)
    assert len(backend.requests) == 1
    assert (said(first), said(second)) == (("miss", None), ("hit", str(AGE_S)))
    assert second.content == first.content
    assert of_the_music(second) == of_the_music(first)
    assert int(second.headers["content-length"]) == len(second.content)


@BOTH
def test_a_hit_waits_for_no_thread_and_encodes_nothing(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app = service()
    made = ask(app, path)

    def refuse(*_: object) -> None:
        raise AssertionError("a hit has left the event loop")

    monkeypatch.setattr(asyncio, "to_thread", refuse)
    assert ask(app, path).content == made.content


@pytest.mark.parametrize("name", ["wav", "pcm"])
def test_a_file_serves_both_the_whole_answer_and_the_stream_where_they_are_the_same(name: str) -> None:
    for one, other in itertools.permutations((WHOLE, STREAM)):
        app = service()
        made, kept = ask(app, one, name), ask(app, other, name)
        assert kept.headers["x-cache"] == "hit"
        assert kept.content == made.content


@pytest.mark.parametrize("name", ["flac", "mp3", "ogg"])
def test_a_streamed_file_that_differs_from_the_whole_one_is_never_sent_for_it(name: str) -> None:
    backend = SineBackend()
    app = service(backend)
    whole, stream = ask(app, WHOLE, name, seed=1), ask(app, STREAM, name, seed=1)
    assert len(backend.requests) == 2
    assert whole.content != stream.content
    assert (ask(app, WHOLE, name, seed=1).content, ask(app, STREAM, name, seed=1).content) == (
        whole.content,
        stream.content,
    )
    assert len(backend.requests) == 2


@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "pcm"])
@BOTH
def test_hit_cut_extended_and_fresh_sound_of_one_generation_are_the_same_bytes(path: str, name: str) -> None:
    fresh = {length: ask(service(), path, name, length, seed=7, cache="off") for length in (700, 1200, 1700)}
    app = service()
    steps = [(1200, "miss"), (700, "cut"), (1700, "extended"), (1200, "hit"), (700, "hit"), (1700, "hit")]
    for length, outcome in steps:
        answer = ask(app, path, name, length, seed=7)
        assert answer.headers["x-cache"] == outcome
        assert answer.content == fresh[length].content
        assert of_the_music(answer) == of_the_music(fresh[length])


@BOTH
@pytest.mark.parametrize("outcome", get_args(Outcome))
def test_where_the_music_came_from_and_how_long_ago_stand_in_the_headers(path: str, outcome: Outcome) -> None:
    answer = ask(service(SineBackend(outcome=outcome)), path)
    assert said(answer) == (outcome, str(AGE_S) if outcome in ("hit", "cut") else None)


@BOTH
def test_refresh_makes_it_again_with_another_seed_and_that_is_kept(path: str) -> None:
    backend = SineBackend()
    app = service(backend)
    first, second = ask(app, path), ask(app, path, cache="refresh")
    assert second.headers["x-cache"] == "miss"
    assert second.headers["x-seed"] != first.headers["x-seed"]
    third = ask(app, path)
    assert said(third) == ("hit", str(AGE_S))
    assert third.content == second.content
    assert [asked.cache for asked in backend.requests] == ["use", "refresh"]


@BOTH
def test_off_asks_for_nothing_kept_and_keeps_nothing(path: str) -> None:
    class Blind(SineBackend):
        async def cached(self, *_: object) -> Any:
            raise AssertionError("asked for what is kept")

    backend = Blind()
    answers = [ask(service(backend), path, cache="off") for _ in range(2)]
    assert [said(answer) for answer in answers] == [("miss", None)] * 2
    assert answers[0].headers["x-seed"] != answers[1].headers["x-seed"]
    assert not backend.files


@pytest.mark.parametrize("value", ["USE", "", "none", True, 0, None, ["use"]])
def test_any_other_way_of_using_it_is_refused_with_the_right_ones(value: object) -> None:
    answer = ask(service(), cache=value)
    assert answer.status_code == 422
    error = fault(answer)
    assert error["param"] == "cache"
    assert error["message"].startswith('cache must be "use", "refresh" or "off"')


@pytest.fixture
def gatherings(monkeypatch: pytest.MonkeyPatch) -> list[StreamBufferPool]:
    """The rooms of all services that the test builds."""
    built: list[StreamBufferPool] = []

    def build(max_bytes: int) -> StreamBufferPool:
        built.append(StreamBufferPool(max_bytes))
        return built[-1]

    monkeypatch.setattr(routes, "Gathering", build)
    return built


def assert_nothing_is_held(backend: SineBackend, gatherings: list[StreamBufferPool]) -> None:
    [gathering] = gatherings
    gathering.check_integrity()
    assert gathering.size_bytes == 0
    assert backend.open_takes == 0


def test_a_stream_beyond_the_room_for_gathering_is_sent_whole_and_not_kept(gatherings: list[StreamBufferPool]) -> None:
    backend = SineBackend()
    app = service(backend, max_gathered_bytes=50_000)
    expected = ask(service(), seed=3).content
    gatherings.pop()
    assert len(expected) > 50_000
    assert ask(app, STREAM, seed=3).content == expected
    assert not backend.files
    ask(app, STREAM, length_ms=500)
    assert len(backend.files) == 1
    assert_nothing_is_held(backend, gatherings)


@pytest.mark.parametrize("pieces", range(4))
def test_a_stream_that_fails_is_not_kept_and_holds_nothing(pieces: int, gatherings: list[StreamBufferPool]) -> None:
    backend = Pieces(after=failing_after(pieces, RuntimeError("broken")))
    with pytest.raises(RuntimeError, match="broken") if pieces else nullcontext():
        ask(service(backend), STREAM)
    assert not backend.files
    assert_nothing_is_held(backend, gatherings)


async def until(is_so: Callable[[], bool]) -> None:
    async def poll() -> None:
        while not is_so():
            await asyncio.sleep(0.001)

    await asyncio.wait_for(poll(), PATIENCE_S)


@pytest.mark.parametrize("how", ["hang up", "cancel"])
def test_a_stream_whose_client_leaves_is_not_kept_and_holds_nothing(how: str, gatherings: list[StreamBufferPool]) -> None:
    async def scenario() -> None:
        backend = Pieces(after=lambda taken: taken == 2 or None)
        exchange = Exchange(body(b'{"prompt": "a", "music_length_ms": 1000}'))
        running = asyncio.create_task(exchange.run(service(backend), post_scope(path=STREAM)))
        await until(lambda: backend.taken == 2)
        assert gatherings[0].size_bytes > 0
        gatherings[0].check_integrity()
        if how == "hang up":
            exchange.incoming.put_nowait(DISCONNECT)
        else:
            running.cancel()
        await asyncio.wait([running], timeout=PATIENCE_S)
        assert not backend.files
        assert_nothing_is_held(backend, gatherings)
        assert_no_task_is_left()

    asyncio.run(scenario())


def test_a_stream_for_a_reader_who_sleeps_at_the_end_is_kept_and_holds_nothing(gatherings: list[StreamBufferPool]) -> None:
    async def scenario() -> None:
        backend = SineBackend()
        exchange = Exchange(body(b'{"prompt": "a", "music_length_ms": 100}'))

        async def send(message: Any) -> None:
            if not message.get("more_body", True):
                await forever()

        running = asyncio.create_task(service(backend)(post_scope(path=STREAM), exchange.receive, send))
        await until(lambda: bool(backend.files))
        assert_nothing_is_held(backend, gatherings)
        running.cancel()
        await asyncio.wait([running], timeout=PATIENCE_S)

    asyncio.run(scenario())
