"""The requests that benchmarks make: the field's defaults, guidance 3, temperature 1 and top_k 250."""

from __future__ import annotations

import numpy as np

from deployments.codec_decoder.windows import windows
from deployments.messages import CodeRequest, Sampling

FRAME_RATE = 50
NUM_TEXT_TOKENS = 12
SAMPLING = Sampling()
LOOKAHEAD = 4  # of the published codec, in frames


def code_requests(num: int, frames: int, text_width: int) -> list[CodeRequest]:
    """`num` different ones of as many frames, with chunks that end at the windows that the service decodes."""
    rng = np.random.default_rng(0)
    ends = tuple(end + LOOKAHEAD for _, end in windows(frames, LOOKAHEAD))
    return [
        CodeRequest(
            request_id=f"request-{i}",
            text_states=rng.standard_normal((NUM_TEXT_TOKENS, text_width)).astype(np.float32),
            num_frames=frames,
            seed=i,
            sampling=SAMPLING,
            chunk_ends=ends,
        )
        for i in range(num)
    ]


def first_sound_frames(frames: int) -> int:
    """How many frames there must be before a clip of `frames` begins to sound."""
    _, end = next(windows(frames, LOOKAHEAD))
    return min(end + LOOKAHEAD, frames)
