"""Requests all clips at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import httpx

from loadtests.demo.clip import FRAME_RATE, ClipRequest, ClipRun
from serve_app.cli.terminal import Progress

_LOOK_S = 0.2


def connect(url: str) -> httpx.AsyncClient:
    """A client without a read timeout, since the service has a deadline of its own; each request connects."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return httpx.AsyncClient(base_url=url, trust_env=False, timeout=httpx.Timeout(10, read=None), limits=limits)


async def request_all(
    client: httpx.AsyncClient,
    requests: Sequence[ClipRequest],
    what: str,
    progress: Progress,
    beside: Callable[[float], Coroutine[Any, Any, None]] | None = None,
) -> tuple[list[ClipRun], float]:
    """What came of each, and how long it took until all had an end.

    beside: is run meanwhile, told when all were requested, by `time.monotonic`, and cancelled at the end.
    """
    clips = [ClipRun(request) for request in requests]
    began_s = time.monotonic()
    tasks = [asyncio.create_task(_watch(what, clips, progress))]
    if beside is not None:
        tasks.append(asyncio.create_task(beside(began_s)))
    try:
        await asyncio.gather(*(clip.run(client, began_s) for clip in clips))
        took_s = time.monotonic() - began_s
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if not isinstance(error, asyncio.CancelledError):
            assert error is not None, "neither of the two ends by itself"
            raise error
    return clips, took_s


async def _watch(what: str, clips: Sequence[ClipRun], progress: Progress) -> None:
    asked_s = sum(clip.request.num_frames for clip in clips) / FRAME_RATE
    progress.step(f"{what}: {len(clips)} clips, {asked_s:.0f} s of music, requested at once")
    while True:
        await asyncio.sleep(_LOOK_S)
        here_s = sum(clip.frames_here for clip in clips) / FRAME_RATE
        num_whole = sum(clip.whole for clip in clips)
        progress.update(
            f"{what}: {here_s:.0f} of {asked_s:.0f} s of music here, {num_whole} of {len(clips)} clips whole"
        )
