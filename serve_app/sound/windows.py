"""Decodes codes to sound while they are made, one window at a time, at the pace of the reader.

Codes are pushed: they are small (12 kB for 30 s), and making them waits for nobody. Sound is pulled: a window is
decoded when the one before has been taken. So even a slow reader holds only one window of sound (128 kB) and its clip's
codes, and delays neither the language model nor the codec.

`WindowCache` holds the windows decoded last, so that requests for one generation have it decoded once. Each request
carries its own decoder state from window to window, so a window that is not cached is simply decoded again.
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
    """Decodes one window at a time. It holds no state: the state travels with the windows."""

    async def decode(self, window: CodeWindow) -> DecodedWindow: ...


class IncompleteGeneration(Exception):
    """The language model's stream ended before its last frame."""


async def decode_stream(
    frames: AsyncGenerator[CodeFrames, None], request: MusicRequest, sound: SoundFormat, codec: Codec
) -> AsyncGenerator[PcmChunk, None]:
    """Yields the request's sound window by window, each as soon as its codes exist; together exactly its duration.

    Args:
        frames: of the request; closed at the end. Its source must buffer them, as the engine's and Serve's streams do,
            because they are read only when the reader takes sound.
        request: for its duration.
        sound: the codec's format.
        codec: that decodes the windows.

    Raises: what a stage raises; IncompleteGeneration.
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


async def collect_clip(chunks: AsyncIterator[PcmChunk]) -> Clip:
    """Joins the chunks, at least one, to the whole clip."""
    pieces = [chunk async for chunk in chunks]
    return Clip(
        pcm=np.concatenate([piece.pcm for piece in pieces], axis=1),
        sample_rate=pieces[0].sample_rate,
        codes=np.concatenate([piece.codes for piece in pieces], axis=1),
    )


WindowName = tuple[str, int, int, int]  # the generation's key, first frame, end, number of codes given


class WindowCache:
    """The sound of the windows decoded last, of all generations. max_bytes: the least recently used goes first."""

    def __init__(self, max_bytes: int = 32 * 2**20) -> None:
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self._decoded: OrderedDict[WindowName, DecodedWindow] = OrderedDict()
        self._under_way: dict[WindowName, asyncio.Task[DecodedWindow]] = {}

    async def decode(self, codec: Codec, generation: str, window: CodeWindow) -> DecodedWindow:
        """As `codec.decode`. generation: its key, which with the window's position decides the sound."""
        start = 0 if window.state is None else window.state.num_frames
        name = (generation, start, window.end, window.codes.shape[1])
        if name in self._decoded:
            self._decoded.move_to_end(name)
            return self._decoded[name]
        if name not in self._under_way:
            # A task of its own: the first request may be cancelled while others wait for the window.
            self._under_way[name] = detached(self._decode(codec, name, window))
        return await asyncio.shield(self._under_way[name])

    def check_integrity(self) -> None:
        """Raises: AssertionError where the count is wrong or over the limit."""
        assert self._size_bytes == sum(each.pcm.nbytes for each in self._decoded.values())
        assert self._size_bytes <= self._max_bytes

    async def _decode(self, codec: Codec, name: WindowName, window: CodeWindow) -> DecodedWindow:
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
class CachingCodec:
    """A codec for one generation whose windows are cached."""

    codec: Codec
    windows: WindowCache
    generation: str

    async def decode(self, window: CodeWindow) -> DecodedWindow:
        return await self.windows.decode(self.codec, self.generation, window)
