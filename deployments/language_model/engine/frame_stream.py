"""Where one generation's frames go: from the engine's thread, in chunks, to a reader on an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

import numpy as np

from deployments.messages import Beat, CodeFrames

CHUNK_FRAMES = 10  # 0.2 s of sound: few enough messages, and fine enough for progress


class Listener:
    """Made and read on an event loop, told by another thread. Close it: until then it beats.

    Chunks end at the frames the request names, else where (frame number) % CHUNK_FRAMES = 0; and at the last. A beat is
    sent when nothing else was for beat_s. on_sign: called on the event loop before each of both is.
    """

    def __init__(self, chunk_ends: Collection[int], beat_s: float, on_sign: Callable[[], None]) -> None:
        self._ends = frozenset(chunk_ends)
        self._beat_s = beat_s
        self._on_sign = on_sign
        self._items: asyncio.Queue[CodeFrames | Beat | Exception] = asyncio.Queue()
        self._running = False
        self._gathered: list[CodeFrames] = []
        self._loop = asyncio.get_running_loop()
        on_sign()
        self._timer = self._loop.call_later(beat_s, self.beat)

    def close(self) -> None:
        self._timer.cancel()

    async def next(self) -> CodeFrames | Beat:
        """Raises: what the generation failed with, after all that came before."""
        item = await self._items.get()
        if isinstance(item, Exception):
            raise item
        return item

    def beat(self) -> None:
        """On the event loop: a sign of life, unless there is one that has not been read."""
        if self._items.empty():
            self._put(Beat(self._running))
        else:
            self._sign()

    def added(self, error: Exception | None) -> None:
        """From any thread: the request is in, or was refused."""
        if error is None:
            call_soon(self._loop, self.beat)
        else:
            self.fail(error)

    def admitted(self) -> None:
        """From the engine's thread: the generation has its slot."""
        call_soon(self._loop, self._admit)

    def frames(self, new: CodeFrames) -> None:
        """From the engine's thread."""
        self._gathered.append(new)
        end = new.first_frame + new.codes.shape[1]
        if new.finished or (end in self._ends if self._ends else end % CHUNK_FRAMES == 0):
            codes = np.concatenate([part.codes for part in self._gathered], axis=1)
            chunk = CodeFrames(new.request_id, self._gathered[0].first_frame, codes, new.finished)
            self._gathered.clear()
            call_soon(self._loop, self._put, chunk)

    def fail(self, error: Exception) -> None:
        """From any thread: nothing more will come."""
        call_soon(self._loop, self._put, error)

    def _admit(self) -> None:
        self._running = True
        self._put(Beat(running=True))

    def _put(self, item: CodeFrames | Beat | Exception) -> None:
        self._sign()
        self._items.put_nowait(item)

    def _sign(self) -> None:
        if self._timer.cancelled():  # closed; what was under way then comes here all the same
            return
        self._on_sign()
        self._timer.cancel()
        self._timer = self._loop.call_later(self._beat_s, self.beat)


def call_soon(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: object) -> None:
    """From any thread. A loop that has been closed has nobody left to tell."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(function, *args)
