"""A process shows that it is there, to those who work for it.

Ray tells no replica that whoever called it is no more: it would go on with work that nobody will fetch, while another
has the same made elsewhere. So callers listen on a port, whose address goes along with each call; whoever is called
connects to it (`attendance`). The kernel closes the connection with the process, in a moment and however it ends; one
that is stopped, or whose machine is gone, sends no more beats.

Nothing is read from those who connect, and they are told nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib

BEAT_S = 1.0
_MAX_CONNECTIONS = 4096


class Presence:
    """host: this machine's address, as the others reach it. It listens from the first time it is asked where."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._starting = asyncio.Lock()
        self._server: asyncio.Server | None = None
        self._beating: set[asyncio.Task[None]] = set()

    async def address(self) -> str:
        """`host:port`. Raises: OSError."""
        async with self._starting:
            if self._server is None:
                self._server = await asyncio.start_server(self._beat, self._host, 0)
            port = self._server.sockets[0].getsockname()[1]
        return f"{self._host}:{port}"

    async def close(self) -> None:
        """Whoever is connected takes it for gone."""
        if self._server is not None:
            self._server.close()
        for task in self._beating:
            task.cancel()
        await asyncio.gather(*self._beating, return_exceptions=True)

    async def _beat(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._beating.add(task)
        try:
            with contextlib.suppress(ConnectionError):
                while len(self._beating) <= _MAX_CONNECTIONS:
                    writer.write(b".")
                    await writer.drain()
                    await asyncio.sleep(BEAT_S)
        finally:
            self._beating.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
