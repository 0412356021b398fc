"""The whole service's figures as one page, read once for all who ask at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from serve_app.detached import detached
from serve_app.metrics.exposition import exposition
from serve_app.metrics.sample import Sample


class Page:
    """samples: of all nodes, as they are now.

    Nothing is kept for later: another replica's page may be newer than a kept one, and to whoever reads both in turn a
    counter would seem to have begun again.
    """

    def __init__(self, samples: Callable[[], Awaitable[Sequence[Sample]]]) -> None:
        self._samples = samples
        self._reading: asyncio.Task[bytes] | None = None

    async def text(self) -> bytes:
        """In Prometheus' format. Cancelled, the reading goes on for others. Raises: what `samples` raises."""
        if self._reading is None or self._reading.done():
            self._reading = detached(self._read())
        return await asyncio.shield(self._reading)

    async def _read(self) -> bytes:
        return await asyncio.to_thread(exposition, await self._samples())
