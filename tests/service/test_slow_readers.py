"""Clients that request a stream and do not read it, through Serve's proxy: what is buffered, and what waits.

A stalled reader's sound lies in four places: its decoder window in the ingress, up to WINDOW_BYTES and a piece between
ingress and proxy, up to uvicorn's limit and a piece in the proxy's transport, and in the kernel.
"""

from __future__ import annotations

import asyncio
import io
import json
import select
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx
import pytest
import ray
import soundfile
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from serve_app.proxy.flow_control import WINDOW_BYTES
from tests.service.conftest import APP, RunningService
from tests.service.test_service import ALL_FREE, WAIT_S, load_becomes
from tests.service.test_streaming import body, post, replica

pytestmark = pytest.mark.slow

SECONDS = 24
BYTES_PER_S = 2 * 16_000
KERNEL_BYTES = 3 * 2**16  # Linux 6.1 took in 130 kB for such a reader, 6.18 took 150 kB
HELD_BYTES = WINDOW_BYTES + HIGH_WATER_LIMIT + 2 * BYTES_PER_S + KERNEL_BYTES
CONTAINERS = ("wav", "flac", "mp3")

SILENCE_S = 0.5


@contextmanager
def stalled(service: RunningService, containers: Sequence[str]) -> Iterator[list[socket.socket]]:
    """Sockets that have requested streams of seed 0, 1 …, and have read one byte each.

    Their buffers are small, and so are their segments: for large ones the kernel would take in megabytes.
    """
    url = httpx.URL(service.url)
    readers = []
    for seed, container in enumerate(containers):
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        reader.connect((url.host, url.port))
        content = json.dumps(body(SECONDS, seed)).encode()
        path = f"/v1/music/stream?output_format={container}"
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(content)}\r\n\r\n"
        reader.sendall(head.encode() + content)
        readers.append(reader)
    try:
        for reader in readers:
            assert reader.recv(1) == b"H"
        yield readers
    finally:
        for reader in readers:
            reader.close()


def num_streams(service: RunningService) -> int:
    """Requests that the ingress is busy with."""
    (name,) = [
        each["name"]
        for each in ray.util.list_named_actors(all_namespaces=True)
        if each["name"].startswith(f"SERVE_REPLICA::{APP}#ingress#")
    ]
    found: int = ray.get(ray.get_actor(name, namespace="serve").get_num_ongoing_requests.remote())
    return found


def read_until_silence(readers: Sequence[socket.socket]) -> list[bytes]:
    """What comes to each before it ends, or before nothing has come to any for SILENCE_S."""
    received = dict.fromkeys(readers, b"")
    open_ = list(readers)
    while ready := select.select(open_, [], [], SILENCE_S)[0]:
        for reader in ready:
            part = reader.recv(2**16)
            received[reader] += part
            if not part:
                open_.remove(reader)
    return list(received.values())


def read_all(reader: socket.socket) -> bytes:
    received = b""
    while part := reader.recv(2**16):
        received += part
    return received


def content(answer: bytes) -> bytes:
    """The body of an answer whose first byte was read before."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    if b"chunked" not in head.lower():
        return rest
    pieces = io.BytesIO(rest)
    whole = b""
    while size := int(pieces.readline(), 16):
        whole += pieces.read(size)
        assert pieces.read(2) == b"\r\n"
    assert pieces.read() == b"\r\n"
    return whole


def test_stalled_readers_hold_a_window_each_slow_no_other_and_get_their_clip_in_the_end(
    service: RunningService,
) -> None:
    """What is held outside the ingress is all that comes while its process is stopped; a fourth client beside them gets
    the first one's clip whole.
    """

    async def scenario() -> None:
        async with service.client() as client:
            with stalled(service, CONTAINERS) as readers:
                whole = (await post(client, "/v1/music", SECONDS, seed=0)).content
                assert len(whole) > HELD_BYTES
                assert await load_becomes(service, ALL_FREE) == ALL_FREE
                others = (await post(client, "/v1/music/stream", 2, seed=9)).content
                ingress = replica("ingress")
                ingress.suspend()
                try:
                    answers = read_until_silence(readers)
                finally:
                    ingress.resume()
                assert max(len(answer) for answer in answers) < HELD_BYTES
                rest = await asyncio.gather(*(asyncio.to_thread(read_all, reader) for reader in readers))
            assert (await post(client, "/v1/music/stream", 2, seed=9)).content == others
        clips = [content(first + last) for first, last in zip(answers, rest, strict=True)]
        assert clips[0] == whole
        for clip in clips:
            sound, sample_rate = soundfile.read(io.BytesIO(clip))
            assert len(sound) / sample_rate == pytest.approx(SECONDS, abs=0.2)

    asyncio.run(scenario())


def test_a_stalled_reader_that_disconnects_leaves_nothing_behind(service: RunningService) -> None:
    """Its codes are all made by then: the ingress alone still holds them, and waits."""

    async def scenario() -> None:
        with stalled(service, ["flac"]):
            assert await load_becomes(service, ALL_FREE) == ALL_FREE
            assert num_streams(service) == 1
        deadline = time.monotonic() + WAIT_S
        while num_streams(service) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        assert num_streams(service) == 0

    asyncio.run(scenario())


def test_a_stream_through_the_proxy_is_read_by_a_slow_reader_as_by_a_fast_one(service: RunningService) -> None:
    """It reads a little at a time, with pauses in which the window fills."""

    async def scenario() -> None:
        async with service.client() as client:
            fast = (await post(client, "/v1/music/stream", 5, seed=3)).content
            received = b""
            async with client.stream("POST", "/v1/music/stream", json=body(5, seed=3)) as response:
                async for piece in response.aiter_raw(2**14):
                    received += piece
                    await asyncio.sleep(0.02)
        assert received == fast

    asyncio.run(scenario())
