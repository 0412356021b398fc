"""From codes to sound while they are made, at the pace of whoever takes the sound.

Codes are pushed: they are small (12 kB for 30 s), and making them waits for nobody. Sound is pulled: a window is
decoded when the one before has been taken. So a reader however slow holds one window of sound (128 kB) and its clip's
codes, and keeps neither the language model nor the codec from serving others.

Windows of sound decoded lately or just now: those who listen to one generation at once have it decoded once.

Each listener carries its own state from window to window and needs nobody else, so what is not here is decoded again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from deployments.codec_decoder.windows import num_frames, num_samples, windows
from deployments.messages import (
    Clip,
    CodeFrames,
    CodeWindow,
    DecodedWindow,
    DecoderState,
    MusicRequest,
    PcmChunk,
    SoundFormat,
)
from serve_app.tasks import detached


class Codec(Protocol):
    """Codes to sound, one window at a time; nothing is kept between them."""

    async def decode(self, window: CodeWindow) -> DecodedWindow: ...


class IncompleteGeneration(Exception):
    """The language model's stream ended before its last frame."""


async def sound_of(
    frames: AsyncGenerator[CodeFrames, None], request: MusicRequest, sound: SoundFormat, codec: Codec
) -> AsyncGenerator[PcmChunk, None]:
    """The request's sound, window by window, each as soon as its codes are there; together exactly its duration.

    frames: of the request, and read without waiting for the reader: what makes them has to let them gather, as the
    engine's and Serve's streams do. Closed at the end. Raises: what a stage raises; IncompleteGeneration.
    """
    frames_in_all = num_frames(request.duration_ms, sound.frame_rate)
    samples_left = num_samples(request.duration_ms, sound.sample_rate)
    codes: np.ndarray | None = None
    state: DecoderState | None = None
    async with aclosing(frames):
        for start, end in windows(frames_in_all, sound.lookahead):
            needed = min(end + sound.lookahead, frames_in_all)
            while codes is None or codes.shape[1] < needed:
                part = await anext(frames, None)
                if part is None:
                    known = 0 if codes is None else codes.shape[1]
                    raise IncompleteGeneration(f"{known} of {frames_in_all} frames came")
                codes = part.codes if codes is None else np.concatenate([codes, part.codes], axis=1)
            decoded = await codec.decode(CodeWindow(codes[:, :needed], end, state))
            state = decoded.state
            pcm = decoded.pcm[:, :samples_left]
            samples_left -= pcm.shape[1]
            yield PcmChunk(pcm, sound.sample_rate, codes[:, start:end])


async def whole(chunks: AsyncIterator[PcmChunk]) -> Clip:
    """The clip that the chunks, at least one, are the pieces of."""
    pieces = [chunk async for chunk in chunks]
    return Clip(
        pcm=np.concatenate([piece.pcm for piece in pieces], axis=1),
        sample_rate=pieces[0].sample_rate,
        codes=np.concatenate([piece.codes for piece in pieces], axis=1),
    )


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
