"""A proxy between a client and a server that cuts or delays what the server answers, when told to."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

_HEADERS_OF_A_BODY = re.compile(
    rb"HTTP/1.1 .*?\r\ncontent-length: ([1-9]\d*)\r\n.*?\r\n\r\n", re.DOTALL | re.IGNORECASE
)


class CuttingProxy:
    """cut_after: bytes of an answer that come through, or None for all; connections_to_cut: how many are left to cut.

    halves: whether only the first half of each body comes through. delay_s: before each piece of an answer. num_calls:
    so far, or a few more, for long ones come in pieces.

    Runs in a thread with a loop of its own, from `start` to `stop`.
    """

    def __init__(self, to: str, port: int) -> None:
        parts = urlsplit(to)
        self._to = parts.hostname, parts.port
        self._port = port
        self.url = f"http://127.0.0.1:{port}"
        self.cut_after: int | None = None
        self.connections_to_cut = 10**9
        self.halves = False
        self.delay_s = 0.0
        self.num_calls = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def running(self) -> Iterator[CuttingProxy]:
        """The thread, and whatever `start` began, end on the way out."""
        self._thread.start()
        try:
            yield self
        finally:
            self.stop()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def start(self) -> None:
        """Connections are taken from now on; refused before."""
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()

    def stop(self) -> None:
        """Connections are refused from now on, and those there are closed."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            self.num_calls += 1
            writer.write(data)
            await writer.drain()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left: int | None = None
        while data := await reader.read(1 << 16):
            await asyncio.sleep(self.delay_s)
            # A connection that has been there for a while is cut as well, from now on.
            if left is None and self.cut_after is not None and self.connections_to_cut > 0:
                self.connections_to_cut -= 1
                left = self.cut_after
            if left is None and self.halves and (headers := _HEADERS_OF_A_BODY.match(data)):
                left = headers.end() + int(headers[1]) // 2
            writer.write(data if left is None else data[:left])
            await writer.drain()
            if left is not None:
                left -= len(data)
                if left <= 0:
                    return

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._to)
            sending = asyncio.create_task(self._ask(reader, server_writer))
            try:
                await self._answer(server_reader, writer)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
                await _closed(server_writer)
        except (OSError, asyncio.CancelledError):
            pass  # either side is gone, or the proxy is stopped: the connection ends
        finally:
            await _closed(writer)
            self._tasks.discard(task)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
