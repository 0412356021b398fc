"""The pipeline: one request's way from words to codes.

text → codes, each stage behind a small protocol, so that a test drives it without a cluster. Leaving early (the client
hung up, a stage failed) closes the stream of codes, which frees the language model's slot. `sound.py` has the rest of
the way.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from deployments.codec_decoder.windows import windows
from deployments.messages import CodeFrames, CodeRequest, MusicRequest, SoundFormat
from serve_app.pipeline.durations import num_frames


class Stages(Protocol):
    """One model's deployments, as far as codes need them."""

    async def encode(self, prompt: str) -> np.ndarray:
        """Text states, float32 [S, D]."""
        ...

    def generate(self, request: CodeRequest) -> AsyncGenerator[CodeFrames, None]:
        """Frames in order, from the first not among the prompt codes to the last."""
        ...

    async def sound_format(self) -> SoundFormat: ...


@dataclass(frozen=True)
class Pipeline:
    """Makes codes with the stages of the model a request names."""

    stages: Mapping[str, Stages]

    async def codes(self, request: MusicRequest) -> AsyncGenerator[CodeFrames, None]:
        """The request's frames as they are made. Raises: what a stage raises."""
        stages = self.stages[request.model]
        sound = await stages.sound_format()
        frames_in_all = num_frames(request.duration_ms, sound.frame_rate)
        code_request = CodeRequest(
            request_id=request.request_id,
            text_states=await stages.encode(request.prompt),
            num_frames=frames_in_all,
            seed=request.seed,
            sampling=request.sampling,
            chunk_ends=tuple(end + sound.lookahead for _, end in windows(frames_in_all, sound.lookahead)),
        )
        async with aclosing(stages.generate(code_request)) as frames:
            async for part in frames:
                yield part
