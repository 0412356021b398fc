"""Clients that disconnect all at once leave nothing behind, in any process."""

from __future__ import annotations

import asyncio
import contextlib
import random

import httpx
import psutil
import pytest

from deployments.language_model.engine.loop import EngineLoad
from tests.service.conftest import PAIR as APP
from tests.service.conftest import SLOTS, RunningService, processes
from tests.service.support.two_replicas import all_ready, body, clip, until


@pytest.mark.slow
def test_five_hundred_clients_that_disconnect_leave_nothing_behind(pair: RunningService) -> None:
    """They connect, ask for a stream, and are gone within a second."""
    host, port = httpx.URL(pair.url).host, httpx.URL(pair.url).port
    assert port is not None

    async def disconnect(number: int) -> None:
        _, writer = await asyncio.open_connection(host, port)
        content = httpx.Request("POST", "http://x", json=body(10_000 + number, 30)).read()
        head = f"POST /{APP}/v1/music/stream HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
        writer.write(head.encode() + content)
        await writer.drain()
        await asyncio.sleep(random.Random(number).random())
        writer.transport.abort()

    async def storm(size: int) -> None:
        await asyncio.gather(*(disconnect(number) for number in range(size)))

    async def settled() -> None:
        free = EngineLoad(slots_used=0, slots_free=SLOTS, waiting=0)
        for _ in range(600):
            loads = [await pair.handle("tiny-language-model").load.remote() for _ in range(4)]
            generations = [await pair.handle("pipeline").load.remote() for _ in range(4)]
            if all(load == free for load in loads) and not any(generations):
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{loads} {generations}")

    def held() -> tuple[int, int]:
        """File handles, and bytes of memory, of all replicas and the proxy."""
        everybody = [*processes(APP), *proxies()]
        return sum(each.num_fds() for each in everybody), sum(each.memory_info().rss for each in everybody)

    async def scenario() -> None:
        await all_ready(APP, "tiny-language-model")
        await storm(100)  # what a process allocates once, for its first load
        await settled()
        handles, memory = held()
        await storm(500)
        await settled()
        await until(lambda: held()[0] <= handles + 20)
        assert held()[1] <= memory + 150 * 2**20
        async with pair.client() as client:
            await clip(client, "stream", "wav", seed=9_999, seconds=1)

    asyncio.run(scenario())


def proxies() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "ProxyActor" in " ".join(child.cmdline()):
                found.append(child)
    return found
