"""Two hundred readers who take next to nothing, over real sockets: what they hold, and whom they hold up."""

from __future__ import annotations

import asyncio
import socket
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
import uvicorn
from fastapi import FastAPI

from serve_app.api.spool import PIECE_BYTES
from serve_app.settings.application import JobsSettings
from tests.serve_app.api.jobs_reference import DecodingBackend, ReferenceJobs, job_service, submitted
from tests.serve_app.api.middleware.test_hangup import PATIENCE_S
from tests.serve_app.api.service import ask

NUM_READERS = 200
CLIP_MS = 10_000
CLIP_BYTES = 2 * 32_000 * CLIP_MS // 1000
# What a reader may cost: a piece here, uvicorn's own buffers (64 kB, and the piece that exceeds them), the connection.
READER_BYTES = 4 * PIECE_BYTES
# Small enough that most of a clip has to wait on our side.
RECEIVE_BUFFER_BYTES = 4096
NUM_STATES = 50

Connect = Callable[[str], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


async def serve(app: FastAPI, conversation: Callable[[Connect], Awaitable[None]]) -> None:
    """uvicorn on a free loopback port for as long as the conversation lasts."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=NUM_READERS)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, RECEIVE_BUFFER_BYTES)
    config = uvicorn.Config(app, lifespan="off", ws="none", log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listener]))

    async with AsyncExitStack() as connections:

        async def connect(path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            near = socket.socket()
            near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            near.setblocking(False)
            await asyncio.get_running_loop().sock_connect(near, listener.getsockname())
            reader, writer = await asyncio.open_connection(sock=near, limit=RECEIVE_BUFFER_BYTES)
            connections.callback(writer.close)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            return reader, writer

        try:
            await conversation(connect)
        finally:
            await connections.aclose()
            server.should_exit = True
            await serving


async def made(app: FastAPI, jobs: ReferenceJobs, num_clips: int) -> list[str]:
    """The addresses of the sound of so many clips."""
    paths = []
    for number in range(num_clips):
        path = (await submitted(app, seed=number, music_length_ms=CLIP_MS, cache="off")).headers["location"]
        jobs.succeed(path.rpartition("/")[2])
        paths.append(f"{path}/audio?output_format=pcm")
    return paths


async def headed(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)


@pytest.mark.parametrize("num_clips", [1, 20])
def test_slow_readers_of_sound_hold_a_piece_each_and_hold_up_nobody(num_clips: int) -> None:
    """A clip in memory for each of them would be 128 MB."""

    async def scenario() -> None:
        jobs, backend = ReferenceJobs(), DecodingBackend()
        app = job_service(jobs, backend)
        paths = await made(app, jobs, num_clips)

        async def converse(connect: Connect) -> None:
            # Once through, so that what is loaded and cached in any case is not counted.
            reader, _ = await connect(paths[0])
            expected = (await reader.read()).partition(b"\r\n\r\n")[2]
            assert len(expected) == CLIP_BYTES
            backend.decoded = 0
            tracemalloc.start()
            before, _ = tracemalloc.get_traced_memory()
            slow = await asyncio.gather(*(connect(paths[number % num_clips]) for number in range(NUM_READERS)))
            for reader, _ in slow:
                assert (await headed(reader)).startswith(b"HTTP/1.1 200 OK")
            for _ in range(3):  # a byte each, now and again
                for reader, _ in slow:
                    assert len(await asyncio.wait_for(reader.readexactly(1), PATIENCE_S)) == 1
            held, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert held - before < NUM_READERS * READER_BYTES
            assert backend.decoded <= num_clips
            quick, _ = await connect(paths[0])
            sound = (await asyncio.wait_for(quick.read(), PATIENCE_S)).partition(b"\r\n\r\n")[2]
            assert sound == expected
            # And one of the slow ones, should it wake up.
            rest = await asyncio.wait_for(slow[0][0].read(), PATIENCE_S)
            assert rest == expected[3:]

        await serve(app, converse)

    asyncio.run(scenario())


def test_slow_readers_of_events_hold_an_event_each_and_hold_up_nobody() -> None:
    async def scenario() -> None:
        jobs = ReferenceJobs()
        app = job_service(jobs, jobs_settings=JobsSettings(max_variations=64))
        path = (await submitted(app, music_length_ms=CLIP_MS, variations=64)).headers["location"]
        job_id = path.rpartition("/")[2]

        async def converse(connect: Connect) -> None:
            slow = await asyncio.gather(*(connect(f"{path}/events") for _ in range(NUM_READERS)))
            for reader, _ in slow:
                await headed(reader)
            tracemalloc.start()
            before, _ = tracemalloc.get_traced_memory()
            size_bytes = len((await ask(app, "GET", path)).content)
            assert NUM_STATES * size_bytes > 2 * READER_BYTES
            for frames in range(1, NUM_STATES + 1):
                jobs.save(job_id, frames)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            quick, _ = await connect(f"{path}/events")
            await headed(quick)
            await asyncio.wait_for(quick.readuntil(b'"progress":'), PATIENCE_S)
            held, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert held - before < NUM_READERS * READER_BYTES
            for number in range(64):
                jobs.succeed(job_id, number)
            assert b"event: succeeded" in await asyncio.wait_for(quick.read(), PATIENCE_S)
            assert b"event: succeeded" in await asyncio.wait_for(slow[0][0].read(), PATIENCE_S)

        await serve(app, converse)

    asyncio.run(scenario())
