"""Caller heartbeats: a caller shows the replicas that work for it that it is up, and which calls it wants.

Ray tells no replica that its caller has crashed: the replica would go on with work that nobody will fetch, while
another one makes the same. And a replica that was suspended may hear of a call before it hears that the call was
cancelled. So each caller listens on a port, whose address goes along with each call, and the replica connects to it
(`caller_watch`). The kernel closes the connection with the process, at once and however it ends; a caller that is
suspended, or whose machine is gone, sends no more heartbeats.

    caller → a `.` every second    replica → `id` of a call and a newline, at most once    caller → `y` or `n`
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator

from deployments.liveness.timings import TIMINGS, Timings

HEARTBEAT, WANTED, UNWANTED = b".", b"y", b"n"
MAX_CONNECTIONS = 4096
_MAX_LINE_BYTES = 64


class CallerHeartbeat:
    """One caller's port, its heartbeats and its answers.

    Args:
        host: this machine's address, as the others reach it. It listens from the first call on.
    """

    def __init__(self, host: str, timings: Timings = TIMINGS) -> None:
        self._host = host
        self._timings = timings
        self._starting = asyncio.Lock()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._wanted: set[str] = set()

    @contextlib.asynccontextmanager
    async def call(self) -> AsyncIterator[str]:
        """What to send along with a call, `host:port/id`: the call is wanted while the block runs.

        Raises:
            OSError: When no port can be opened.
        """
        address, call_id = await self._address(), uuid.uuid4().hex
        self._wanted.add(call_id)
        try:
            yield f"{address}/{call_id}"
        finally:
            self._wanted.discard(call_id)

    async def close(self) -> None:
        """Ends the connections: the replicas take this caller for gone."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _address(self) -> str:
        async with self._starting:
            if self._server is None:
                self._server = await asyncio.start_server(self._serve, self._host, 0, limit=_MAX_LINE_BYTES)
            port = self._server.sockets[0].getsockname()[1]
        return f"{self._host}:{port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        answering = asyncio.create_task(self._answer(reader, writer))
        try:
            if len(self._connections) <= MAX_CONNECTIONS:
                await self._send_heartbeats(writer)
        finally:
            self._connections.discard(task)
            answering.cancel()
            await asyncio.wait({answering})
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Once: one who goes on asking and never reads must not fill our memory."""
        try:
            line = await reader.readline()
        except (OSError, ValueError):  # gone; longer than any line of ours
            return
        if line:
            writer.write(WANTED if line.decode("ascii", "replace").strip() in self._wanted else UNWANTED)

    async def _send_heartbeats(self, writer: asyncio.StreamWriter) -> None:
        """Until the other side closes the connection."""
        with contextlib.suppress(OSError):
            while True:
                writer.write(HEARTBEAT)
                await writer.drain()
                await asyncio.sleep(self._timings.heartbeat_s)
