"""All clips asked for at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import httpx

from loadtests.demo.clip import FRAME_RATE, Take, Wish
from serve_app.cli.terminal import Progress

_LOOK_S = 0.2


def connect(url: str) -> httpx.AsyncClient:
    """A client that takes as long as it takes, since the service has a deadline of its own; each request connects."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return httpx.AsyncClient(base_url=url, trust_env=False, timeout=httpx.Timeout(10, read=None), limits=limits)


async def ask(
    client: httpx.AsyncClient,
    wishes: Sequence[Wish],
    what: str,
    progress: Progress,
    beside: Callable[[float], Coroutine[Any, Any, None]] | None = None,
) -> tuple[list[Take], float]:
    """What came of each, and how long it took until all had an end.

    beside: is run meanwhile, told when all were asked for, by `time.monotonic`, and cancelled at the end.
    """
    takes = [Take(wish) for wish in wishes]
    began_s = time.monotonic()
    tasks = [asyncio.create_task(_watch(what, takes, progress))]
    if beside is not None:
        tasks.append(asyncio.create_task(beside(began_s)))
    try:
        await asyncio.gather(*(take.fulfil(client, began_s) for take in takes))
        took_s = time.monotonic() - began_s
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if not isinstance(error, asyncio.CancelledError):
            assert error is not None, "neither of the two ends by itself"
            raise error
    return takes, took_s


async def _watch(what: str, takes: Sequence[Take], progress: Progress) -> None:
    asked_s = sum(take.wish.num_frames for take in takes) / FRAME_RATE
    progress.step(f"{what}: {len(takes)} clips, {asked_s:.0f} s of music, asked for at once")
    while True:
        await asyncio.sleep(_LOOK_S)
        here_s = sum(take.frames_here for take in takes) / FRAME_RATE
        num_whole = sum(take.whole for take in takes)
        progress.update(
            f"{what}: {here_s:.0f} of {asked_s:.0f} s of music here, {num_whole} of {len(takes)} clips whole"
        )
