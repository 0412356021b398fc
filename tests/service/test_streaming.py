"""Streams over HTTP through Serve's proxy: whole, aborted by a fault, and left by the client."""

from __future__ import annotations

import asyncio
import io
import json
import time
from pathlib import Path

import httpx
import psutil
import pytest
import soundfile

from tests.service.conftest import RunningService, processes
from tests.service.support.recording_model import LETHAL_SEED, recorded_generations
from tests.service.test_service import ALL_FREE, load_becomes

HEADERS = ("x-seed", "x-duration-ms", "x-sample-rate", "x-channels", "x-generation-id", "content-disposition")

CURL_PARTIAL_FILE = 18


def body(seconds: float, seed: int = 0) -> dict[str, object]:
    return {"prompt": f"song {seed}", "music_length_ms": round(1000 * seconds), "seed": seed, "cache": "off"}


async def post(client: httpx.AsyncClient, path: str, seconds: float, seed: int = 0) -> httpx.Response:
    response = await client.post(path, json=body(seconds, seed))
    assert response.status_code == 200, response.text
    return response


def replica(name: str) -> psutil.Process:
    """The process of the deployment's only replica."""
    (found,) = processes("test", name)
    return found


@pytest.mark.parametrize("container", ["wav", "pcm"])
def test_a_stream_is_byte_for_byte_the_whole_clip(service: RunningService, container: str) -> None:
    async def scenario() -> None:
        async with service.client() as client:
            query = f"?output_format={container}"
            whole, stream, again = await asyncio.gather(
                *(post(client, f"/v1/music{path}{query}", 3.21, seed=5) for path in ("", "/stream", "/stream"))
            )
        assert stream.content == again.content == whole.content
        assert stream.headers["content-length"] == str(len(whole.content))
        assert [stream.headers[name] for name in HEADERS] == [whole.headers[name] for name in HEADERS]

    asyncio.run(scenario())


@pytest.mark.parametrize("container", ["mp3", "ogg", "flac"])
def test_a_compressed_stream_has_all_of_the_sound(service: RunningService, container: str) -> None:
    async def scenario() -> None:
        async with service.client() as client:
            streams = [await post(client, f"/v1/music/stream?output_format={container}", 2) for _ in range(2)]
        sound, sample_rate = soundfile.read(io.BytesIO(streams[0].content))
        assert len(sound) / sample_rate == pytest.approx(2, abs=0.2 if container == "mp3" else 0)
        if container != "ogg":
            assert streams[0].content == streams[1].content

    asyncio.run(scenario())


def test_sound_comes_while_it_is_made(service: RunningService) -> None:
    async def scenario() -> list[int]:
        sizes: list[int] = []
        async with service.client() as client, client.stream("POST", "/v1/music/stream", json=body(10)) as response:
            waiting = True
            async for piece in response.aiter_raw():
                sizes.append(len(piece))
                if waiting:
                    waiting = False
                    assert (await load_becomes(service, ALL_FREE, within_s=0)).slots_used == 1
        return sizes

    sizes = asyncio.run(scenario())
    assert sum(sizes) > 10 * 2 * 16_000
    assert len(sizes) > 5


def test_a_client_that_leaves_a_stream_frees_its_slot_within_a_second(service: RunningService) -> None:
    async def scenario() -> float:
        async with service.client() as client, client.stream("POST", "/v1/music/stream", json=body(30)) as response:
            await anext(response.aiter_raw())
        left = time.monotonic()
        assert await load_becomes(service, ALL_FREE, within_s=5) == ALL_FREE
        return time.monotonic() - left

    assert asyncio.run(scenario()) < 1


def test_a_lost_codec_replica_changes_no_byte_of_a_stream(service: RunningService) -> None:
    async def scenario() -> None:
        async with service.client() as client:
            whole = await post(client, "/v1/music", 20)
            received = b""
            async with client.stream("POST", "/v1/music/stream", json=body(20)) as response:
                async for piece in response.aiter_raw():
                    if not received:
                        replica("tiny-codec-decoder").kill()
                    received += piece
        assert received == whole.content

    asyncio.run(scenario())


@pytest.mark.slow
def test_a_stream_that_fails_is_seen_to_fail_by_curl_and_httpx(service: RunningService, tmp_path: Path) -> None:
    """All are streams of a request that kills its language model each time, in the middle."""
    lethal = {**body(30, seed=LETHAL_SEED), "cache": "use"}
    cut = [tmp_path / f"cut.{container}" for container in ("wav", "flac", "mp3")]
    before = set(recorded_generations(service.frames))

    async def curl(output: Path) -> int:
        url = f"{service.url}/v1/music/stream?output_format={output.suffix[1:]}"
        options = ["-sSN", "--noproxy", "*", "-H", "Content-Type: application/json", "-d", json.dumps(lethal)]
        process = await asyncio.create_subprocess_exec("curl", *options, "-o", output, url)
        return await process.wait()

    async def read(client: httpx.AsyncClient) -> None:
        async with client.stream("POST", "/v1/music/stream?output_format=ogg", json=lethal) as response:
            async for _ in response.aiter_raw():
                pass

    async def scenario() -> None:
        async with service.client() as client:
            tasks = [asyncio.create_task(each) for each in (read(client), *(curl(output) for output in cut))]
            failure, *statuses = await asyncio.gather(*tasks, return_exceptions=True)
            while (await client.get("/ready")).status_code != 200:
                await asyncio.sleep(0.2)
            refused = await client.post("/v1/music", json=lethal)
        assert isinstance(failure, httpx.RemoteProtocolError)
        assert statuses == [CURL_PARTIAL_FILE] * len(cut)
        assert (refused.status_code, refused.json()["error"]["type"]) == (500, "worker_lost_twice")
        new = {name: made for name, made in recorded_generations(service.frames).items() if name not in before}
        assert [len(made.processes) for made in new.values()] == [2], "no third one is lost"

    asyncio.run(scenario())
