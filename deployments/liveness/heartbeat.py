"""A process shows that it is there and what it still wants, to those who work for it.

Ray tells no replica that whoever called it is no more: it would go on with work that nobody will fetch, while another
has the same made elsewhere. Nor does the word that a call was taken back come before the call itself, to a replica that
was held up meanwhile. So callers listen on a port, whose address goes along with each call; whoever is called connects
to it (`attendance`). The kernel closes the connection with the process, in a moment and however it ends; one that is
stopped, or whose machine is gone, sends no more beats.

    caller → a `.` every second    callee → `id` of a call and a line's end, once at most    caller → `y` or `n`
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator

BEAT, WANTED, UNWANTED = b".", b"y", b"n"
BEAT_S = 1.0
MAX_CONNECTIONS = 4096
_MAX_LINE_BYTES = 64


class Presence:
    """host: this machine's address, as the others reach it. It listens from the first call on."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._starting = asyncio.Lock()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._wanted: set[str] = set()

    @contextlib.asynccontextmanager
    async def call(self) -> AsyncIterator[str]:
        """What to give along with a call, `host:port/id`: it is wanted while the block runs. Raises: OSError."""
        address, call_id = await self._address(), uuid.uuid4().hex
        self._wanted.add(call_id)
        try:
            yield f"{address}/{call_id}"
        finally:
            self._wanted.discard(call_id)

    async def close(self) -> None:
        """Whoever is connected takes it for gone."""
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
                await _beat(writer)
        finally:
            self._connections.discard(task)
            answering.cancel()
            await asyncio.wait({answering})
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Once: whoever asks on and never reads is not given more to hold."""
        try:
            line = await reader.readline()
        except (OSError, ValueError):  # gone; longer than any line of ours
            return
        if line:
            writer.write(WANTED if line.decode("ascii", "replace").strip() in self._wanted else UNWANTED)


async def _beat(writer: asyncio.StreamWriter) -> None:
    """Until nobody listens."""
    with contextlib.suppress(OSError):
        while True:
            writer.write(BEAT)
            await writer.drain()
            await asyncio.sleep(BEAT_S)
