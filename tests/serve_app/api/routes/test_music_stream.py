"""Sound that is sent while it is made: in process, and over a socket to readers that wait, leave or never read."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace

import httpx
import numpy as np
import pytest

from deployments.messages import Clip, MusicRequest, PcmChunk
from serve_app.errors import DeadlineExceeded, NotReady, ServiceError, TooBusy, WorkerLostTwice
from serve_app.sound.containers import CONTAINER_FORMATS
from tests.serve_app.api.middleware.test_hangup import (
    PATIENCE_S,
    Served,
    assert_no_task_is_left,
    forever,
    over_a_socket,
)
from tests.serve_app.api.service import SAMPLE_RATE, SineBackend, call, fault, service

SECOND = {"prompt": "a tone", "music_length_ms": 1000, "seed": 7}


class Pieces(SineBackend):
    """Streams its clip in equal pieces, and does `after` each, and after none: it may fail, or wait."""

    def __init__(self, num_pieces: int = 4, after: Callable[[int], object] = lambda taken: None) -> None:
        super().__init__()
        self.num_pieces = num_pieces
        self.after = after
        self.taken = 0
        self.closed = asyncio.Event()

    async def chunks(self, clip: Clip) -> AsyncGenerator[PcmChunk, None]:
        try:
            await self._pause()
            for pcm in np.array_split(clip.pcm, self.num_pieces, axis=1):
                yield PcmChunk(pcm, SAMPLE_RATE, np.zeros((4, 1), np.int16))
                self.taken += 1
                await self._pause()
        finally:
            self.closed.set()

    async def _pause(self) -> None:
        if self.after(self.taken) is not None:
            await forever()


def failing_after(pieces: int, error: Exception) -> Callable[[int], None]:
    def after(taken: int) -> None:
        if taken == pieces:
            raise error

    return after


@pytest.mark.parametrize("name", ["wav", "pcm"])
def test_a_stream_is_the_bytes_and_headers_of_the_whole_answer(name: str) -> None:
    whole, stream = (
        call(service(Pieces()), "POST", f"/v1/music{path}?output_format={name}", json=SECOND)
        for path in ("", "/stream")
    )
    assert stream.content == whole.content
    for response in (whole, stream):
        del response.headers["server-timing"], response.headers["x-request-id"]
    assert stream.headers == whole.headers


@pytest.mark.parametrize("name", list(CONTAINER_FORMATS))
def test_every_format_is_streamed_with_the_headers_of_the_whole_answer(name: str) -> None:
    whole, stream = (
        call(service(Pieces()), "POST", f"/v1/music{path}?output_format={name}", json=SECOND)
        for path in ("", "/stream")
    )
    assert set(whole.headers) - set(stream.headers) <= {"content-length"}
    for header in ("content-type", "content-disposition", "x-seed", "x-duration-ms", "x-generation-id", "x-model"):
        assert stream.headers[header] == whole.headers[header]
    assert ("content-length" in stream.headers) == (name in ("wav", "pcm"))
    assert stream.headers["server-timing"].startswith("first;dur=")
    assert len(stream.content) > 1000


@pytest.mark.parametrize("content", [{"promt": "a"}, {"prompt": ""}, {"prompt": "a", "music_length_ms": 30_001}])
def test_what_the_whole_answer_refuses_the_stream_refuses_alike(content: dict[str, object]) -> None:
    whole, stream = (call(service(), "POST", f"/v1/music{path}", json=content) for path in ("", "/stream"))
    assert stream.status_code == whole.status_code == 422
    assert fault(stream) == fault(whole)


@pytest.mark.parametrize(
    ("error", "retry_after"),
    [
        (TooBusy("All places are taken."), "5"),
        (NotReady("A worker was lost."), "5"),
        (DeadlineExceeded("It takes too long."), None),
        (WorkerLostTwice(), None),
    ],
    ids=lambda each: getattr(each, "type", ""),
)
@pytest.mark.parametrize("path", ["/v1/music", "/v1/music/stream"])
def test_what_fails_before_the_first_sound_is_an_error_like_any_other(
    path: str, error: ServiceError, retry_after: str | None
) -> None:
    async def fail(request: MusicRequest) -> Clip:
        raise error

    response = call(service(SineBackend(fail)), "POST", path, json=SECOND)
    assert response.status_code == error.status
    assert response.headers.get("retry-after") == retry_after
    assert fault(response)["type"] == error.type


def test_what_fails_at_the_first_sound_is_an_error_too_and_closes_the_take() -> None:
    backend = Pieces(after=failing_after(0, NotReady("A codec was lost.")))
    response = call(service(backend), "POST", "/v1/music/stream", json=SECOND)
    assert fault(response)["type"] == "not_ready"
    assert backend.open_takes == 0


@pytest.mark.parametrize("backend", [Pieces(after=lambda taken: "wait"), SineBackend(forever)], ids=["sound", "codes"])
def test_a_first_sound_that_takes_too_long_is_a_504(backend: SineBackend) -> None:
    response = call(service(backend, deadline_s=0.01), "POST", "/v1/music/stream", json=SECOND)
    assert fault(response)["type"] == "deadline_exceeded"
    assert backend.open_takes == 0


def request_bytes(name: str, length_ms: int = 1000) -> bytes:
    content = json.dumps({**SECOND, "music_length_ms": length_ms}).encode()
    head = f"POST /v1/music/stream?output_format={name} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


@pytest.mark.parametrize("error", [NotReady("A worker was lost."), RuntimeError("broken")], ids=["service", "other"])
@pytest.mark.parametrize("name", list(CONTAINER_FORMATS))
def test_what_fails_later_breaks_the_answer_off_and_is_logged(
    name: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """The connection closes with fewer bytes than announced, or without the chunk of no bytes that ends a body."""
    backend = Pieces(after=failing_after(2, error))

    async def scenario() -> bytes:
        answer = b""

        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal answer
            writer.write(request_bytes(name))
            answer = await asyncio.wait_for(reader.read(), PATIENCE_S)

        await over_a_socket(service(backend), converse)
        return answer

    with caplog.at_level(logging.ERROR):
        head, _, content = asyncio.run(scenario()).partition(b"\r\n\r\n")
    headers = httpx.Headers([tuple(line.split(b": ", 1)) for line in head.split(b"\r\n")[1:]])
    assert backend.closed.is_set()
    if "content-length" in headers:
        assert 0 < len(content) < int(headers["content-length"])
    else:
        assert headers["transfer-encoding"] == "chunked"
        assert not content.endswith(b"0\r\n\r\n")
    assert any("unexpected exception" in record.message for record in caplog.records)


def test_a_client_that_leaves_closes_the_stream_within_a_second() -> None:
    async def scenario() -> None:
        backend = Pieces(after=lambda taken: taken == 2 or None)
        app = Served(service(backend))

        async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(request_bytes("wav"))
            await reader.readuntil(b"data")
            writer.close()
            await asyncio.wait_for(backend.closed.wait(), 1)
            await asyncio.wait_for(app.over.wait(), 1)

        await over_a_socket(app, leave)
        assert_no_task_is_left()

    asyncio.run(scenario())


def test_for_a_reader_that_does_not_read_no_more_sound_is_made() -> None:
    """Where the server pushes back, as uvicorn does, what waits is a window and the kernel's buffers."""

    async def scenario() -> None:
        backend = Pieces(num_pieces=3000)
        backend.cards = [replace(backend.cards[0], max_duration_ms=600_000)]
        whole_bytes = 600 * 2 * SAMPLE_RATE
        app = Served(service(backend))

        async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(request_bytes("pcm", 600_000))
            await reader.readuntil(b"\r\n\r\n")
            taken = -1
            while taken != backend.taken:
                taken = backend.taken
                await asyncio.sleep(0.3)
            assert taken < 0.6 * backend.num_pieces
            other = await asyncio.to_thread(call, service(), "POST", "/v1/music/stream", json=SECOND)
            assert other.status_code == 200
            assert len(await reader.readexactly(whole_bytes)) == whole_bytes
            assert backend.taken == backend.num_pieces

        await over_a_socket(app, stall)

    asyncio.run(scenario())
