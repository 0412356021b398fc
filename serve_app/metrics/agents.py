"""The figures of all nodes: each one's agent is asked over HTTP. One that does not answer is left out, and counted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import httpx

from deployments.metrics.catalogue import SCRAPED_NODES
from deployments.patience import within
from serve_app.metrics.sample import NODE, Sample, samples_of

# Prometheus waits ten seconds by default.
TIMEOUT_S = 3.0
# An agent of a large node shows some hundreds of kilobytes.
MAX_PAGE_BYTES = 32 * 2**20
_AT_ONCE = 16


@dataclass(frozen=True)
class Agent:
    """Where a node shows its figures. node: what it is called, like no other."""

    node: str
    url: str


class Agents:
    """find: those of all nodes that are alive. timeout_s: for each node."""

    def __init__(self, find: Callable[[], Awaitable[Sequence[Agent]]], *, timeout_s: float = TIMEOUT_S) -> None:
        self._find = find
        self._timeout_s = timeout_s

    async def samples(self) -> list[Sample]:
        """Of all nodes that answer in time."""
        turns = asyncio.Semaphore(_AT_ONCE)
        # A proxy that the environment names is for what is outside.
        async with httpx.AsyncClient(trust_env=False, timeout=self._timeout_s) as client:

            async def ask(agent: Agent) -> list[Sample] | None:
                async with turns:
                    try:
                        return await within(_asked(client, agent), self._timeout_s)
                    except (httpx.HTTPError, asyncio.TimeoutError, ValueError):
                        return None

            found = await asyncio.gather(*(ask(agent) for agent in await self._find()))
        missing = sum(each is None for each in found)
        counts = {"answered": len(found) - missing, "missing": missing}
        of_nodes = [sample for each in found if each is not None for sample in each]
        return of_nodes + [
            Sample(SCRAPED_NODES, SCRAPED_NODES.name, (("state", state), (NODE, "all")), count)
            for state, count in counts.items()
        ]


async def _asked(client: httpx.AsyncClient, agent: Agent) -> list[Sample]:
    """Raises: httpx.HTTPError; ValueError for what is no page of figures, or too long a one."""
    page = bytearray()
    # Packing a page takes the agent longer than sending it as it is.
    async with client.stream("GET", agent.url, headers={"Accept-Encoding": "identity"}) as answer:
        answer.raise_for_status()
        async for part in answer.aiter_bytes():
            page += part
            if len(page) > MAX_PAGE_BYTES:
                raise ValueError("the page is too long")
    return await asyncio.to_thread(samples_of, bytes(page), agent.node)
