"""From codes to sound while they are made, at the pace of whoever takes the sound.

Codes are pushed: they are small (12 kB for 30 s), and making them waits for nobody. Sound is pulled: a window is
decoded when the one before has been taken. So a reader however slow holds one window of sound (128 kB) and its clip's
codes, and keeps neither the language model nor the codec from serving others.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Protocol

import numpy as np

from deployments.codec_decoder.windows import windows
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
from serve_app.pipeline.durations import num_frames, num_samples


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
