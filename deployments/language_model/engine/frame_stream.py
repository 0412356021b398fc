"""The frames of one request on their way: from the engine's thread, in chunks, to a reader on an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

import numpy as np

from deployments.messages import CodeFrames, Heartbeat

CHUNK_FRAMES = 10  # 0.2 s of sound: few messages, and progress that is shown often enough


class FrameStream:
    """Made and read on an event loop, filled by another thread. Close it: until then it sends heartbeats.

    Chunks end at the frames the request names, else where (frame number) % CHUNK_FRAMES = 0; and at the last.

    Args:
        heartbeat_s: a heartbeat is sent when nothing else was for so long.
        on_send: called on the event loop before anything is sent.
    """

    def __init__(self, chunk_ends: Collection[int], heartbeat_s: float, on_send: Callable[[], None]) -> None:
        self._ends = frozenset(chunk_ends)
        self._heartbeat_s = heartbeat_s
        self._on_send = on_send
        self._items: asyncio.Queue[CodeFrames | Heartbeat | Exception] = asyncio.Queue()
        self._running = False
        self._chunk: list[CodeFrames] = []
        self._loop = asyncio.get_running_loop()
        on_send()
        self._timer = self._loop.call_later(heartbeat_s, self.heartbeat)

    def close(self) -> None:
        self._timer.cancel()

    async def next(self) -> CodeFrames | Heartbeat:
        """The next chunk or heartbeat.

        Raises:
            Exception: What the request failed with, after all that came before.
        """
        item = await self._items.get()
        if isinstance(item, Exception):
            raise item
        return item

    def heartbeat(self) -> None:
        """On the event loop: a heartbeat, unless something is there that has not been read."""
        if self._items.empty():
            self._put(Heartbeat(self._running))
        else:
            self._sending()

    def added(self, error: Exception | None) -> None:
        """From any thread: the request is in, or was refused."""
        if error is None:
            call_soon(self._loop, self.heartbeat)
        else:
            self.fail(error)

    def admitted(self) -> None:
        """From the engine's thread: the request has its slot."""
        call_soon(self._loop, self._admit)

    def frames(self, new: CodeFrames) -> None:
        """From the engine's thread."""
        self._chunk.append(new)
        end = new.first_frame + new.codes.shape[1]
        if new.finished or (end in self._ends if self._ends else end % CHUNK_FRAMES == 0):
            codes = np.concatenate([part.codes for part in self._chunk], axis=1)
            chunk = CodeFrames(new.request_id, self._chunk[0].first_frame, codes, new.finished)
            self._chunk.clear()
            call_soon(self._loop, self._put, chunk)

    def fail(self, error: Exception) -> None:
        """From any thread: nothing more will come."""
        call_soon(self._loop, self._put, error)

    def _admit(self) -> None:
        self._running = True
        self._put(Heartbeat(running=True))

    def _put(self, item: CodeFrames | Heartbeat | Exception) -> None:
        self._sending()
        self._items.put_nowait(item)

    def _sending(self) -> None:
        if self._timer.cancelled():  # closed; what was under way then comes here all the same
            return
        self._on_send()
        self._timer.cancel()
        self._timer = self._loop.call_later(self._heartbeat_s, self.heartbeat)


def call_soon(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: object) -> None:
    """From any thread. A loop that has been closed has nobody left to tell."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(function, *args)
