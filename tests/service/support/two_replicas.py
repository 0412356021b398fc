"""Helpers for the application with two replicas of each stage, where one resumes what another loses."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
from ray import serve

from deployments.codec_decoder.windows import windows
from tests.service.conftest import RunningService, processes
from tests.service.support.recording_model import RecordedGeneration, recorded_generations

LOOKAHEAD = 4
LONG_SECONDS = 30  # where there is time, and where something has to last
WAYS = [(way, container) for way in ("wait", "stream") for container in ("wav", "pcm")]
# How long to wait for a condition, on a busy machine.
WAIT_TIMEOUT_S = 150.0
# No kill in the last frames of a clip: by the time they are seen to be made, the clip may be done.
LAST_FRAMES = 200


def largest_window(num_frames: int) -> int:
    """The most frames that a language model makes between two reports."""
    ends = [0, *(min(end + LOOKAHEAD, num_frames) for _, end in windows(num_frames, LOOKAHEAD))]
    return max(end - start for start, end in itertools.pairwise(ends))


def body(seed: int | None, seconds: float = 30, **fields: object) -> dict[str, object]:
    return {"prompt": "a march", "music_length_ms": round(1000 * seconds), "seed": seed, **fields}


async def clip(client: httpx.AsyncClient, way: str, container: str, **fields: Any) -> httpx.Response:
    """way: `wait` or `stream`."""
    path = "/v1/music" if way == "wait" else "/v1/music/stream"
    response = await client.post(f"{path}?output_format={container}", json=body(**fields))
    assert response.status_code == 200, response.text
    return response


def digest(response: httpx.Response) -> str:
    return hashlib.sha256(response.content).hexdigest()


async def until(condition: Callable[[], bool], within_s: float = WAIT_TIMEOUT_S) -> None:
    """Returns when the condition holds. Raises: AssertionError when that takes too long."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it never came to hold"
        await asyncio.sleep(0.005)


async def until_async(condition: Callable[[], Awaitable[bool]], within_s: float = WAIT_TIMEOUT_S) -> None:
    """The same for an asynchronous condition."""
    deadline = time.monotonic() + within_s
    while not await condition():
        assert time.monotonic() < deadline, "it never came to hold"
        await asyncio.sleep(0.1)


async def all_up(app: str, deployment: str, number: int = 2) -> None:
    """Waits for replicas that were lost to be replaced."""
    await until(lambda: len(processes(app, deployment)) == number)


async def all_ready(app: str, deployment: str, number: int = 2) -> None:
    """The same, and until they serve: before that they load, and their memory grows."""

    async def are_ready() -> bool:
        status = await asyncio.to_thread(serve.status)
        return status.applications[app].deployments[deployment].replica_states == {"RUNNING": number}

    await all_up(app, deployment, number)
    await until_async(are_ready)


def recorded_generation_of(service: RunningService, response: httpx.Response) -> RecordedGeneration:
    """The record of the generation that a response carries."""
    return recorded_generations(service.frames)[response.headers["X-Generation-Id"][:16]]


async def kill_in_the_middle(frames: Path, before: set[str], num_frames: int, draw: random.Random) -> psutil.Process:
    """Kills the process that makes a generation not among those `before`, at a random frame."""
    at = draw.randrange(1, num_frames - LAST_FRAMES)

    def running() -> list[RecordedGeneration]:
        found = (made for name, made in recorded_generations(frames).items() if name not in before)
        return [made for made in found if at <= sum(made.frames.values()) < num_frames]

    await until(lambda: bool(running()))
    process = psutil.Process(running()[0].processes[-1])
    process.send_signal(signal.SIGKILL)
    return process


def num_made_again(frames: Counter[int]) -> int:
    """How many frames were made more than once, each repetition counted."""
    return sum(frames.values()) - len(frames)


async def gather(calls: list[Awaitable[httpx.Response]]) -> list[httpx.Response]:
    return list(await asyncio.gather(*calls))
