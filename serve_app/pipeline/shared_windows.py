"""Windows of sound decoded lately or just now: those who listen to one generation at once have it decoded once.

Each listener carries its own state from window to window and needs nobody else, so what is not here is decoded again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from deployments.messages import CodeWindow, DecodedWindow
from serve_app.detached import detached
from serve_app.pipeline.sound import Codec

Name = tuple[str, int, int, int]


class SharedWindows:
    """max_bytes: of the sound that is held, the least recently used first out."""

    def __init__(self, max_bytes: int = 32 * 2**20) -> None:
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self._decoded: OrderedDict[Name, DecodedWindow] = OrderedDict()
        self._under_way: dict[Name, asyncio.Task[DecodedWindow]] = {}

    async def decode(self, codec: Codec, generation: str, window: CodeWindow) -> DecodedWindow:
        """As `codec.decode`. generation: its key, which with the window's place decides all of its sound."""
        start = 0 if window.state is None else window.state.num_frames
        name = (generation, start, window.end, window.codes.shape[1])
        if name in self._decoded:
            self._decoded.move_to_end(name)
            return self._decoded[name]
        if name not in self._under_way:
            # A task of its own: whoever asked first may leave, and the others wait for it too.
            self._under_way[name] = detached(self._decode(codec, name, window))
        return await asyncio.shield(self._under_way[name])

    def check_integrity(self) -> None:
        """Raises: AssertionError where the count is wrong or over the limit."""
        assert self._size_bytes == sum(each.pcm.nbytes for each in self._decoded.values())
        assert self._size_bytes <= self._max_bytes

    async def _decode(self, codec: Codec, name: Name, window: CodeWindow) -> DecodedWindow:
        try:
            decoded = await codec.decode(window)
        finally:
            del self._under_way[name]
        if decoded.pcm.nbytes <= self._max_bytes:
            self._decoded[name] = decoded
            self._size_bytes += decoded.pcm.nbytes
        while self._size_bytes > self._max_bytes:
            self._size_bytes -= self._decoded.popitem(last=False)[1].pcm.nbytes
        return decoded


@dataclass(frozen=True)
class SharedCodec:
    """A codec for one generation, whose windows are shared."""

    codec: Codec
    windows: SharedWindows
    generation: str

    async def decode(self, window: CodeWindow) -> DecodedWindow:
        return await self.windows.decode(self.codec, self.generation, window)
