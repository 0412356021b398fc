"""Jobs of tests: what is submitted, and what is made of it."""

from __future__ import annotations

import numpy as np

from deployments.messages import CodeFrames, EngineIdentity, GenerationStart, MusicRequest, QueueClass, Sampling
from serve_app.job import Checkpoint, SoundHealth, Submission, VariationId

IDENTITY = EngineIdentity("0" * 64, "avx512 float32", 2048)
NUM_CODEBOOKS = 4
HEALTHY = SoundHealth(silent_share=0.125, clipped_share=1e-9, flatness=0.1, harmonicity=1 / 3, collapsed=False)
SILENT = SoundHealth(silent_share=1.0, clipped_share=0.0, flatness=None, harmonicity=None, collapsed=True)


def submission(
    tenant: str = "ours",
    *,
    seeds: tuple[int | None, ...] = (7,),
    num_frames: int = 6,
    queue: QueueClass = "realtime",
    digest: str = "d" * 64,
    key: str | None = None,
) -> Submission:
    sampling, scope = Sampling(top_p=0.9), f"of {tenant}"
    request = MusicRequest("r-1", "etude", "a piano 🎹", 120, seeds[0], sampling, "refresh", scope, queue)
    return Submission(tenant, "k1", request, seeds, num_frames, digest, key)


def start(seed: int = 7, key: str = "a" * 64) -> GenerationStart:
    states = np.random.default_rng(seed % 1000).standard_normal((3, 8)).astype(np.float32)
    return GenerationStart(key, seed, "miss", IDENTITY, age_s=None, text_states=states)


def all_codes(num_frames: int) -> np.ndarray:
    """int16 [K, num_frames]: of any two frames, different ones."""
    return (np.arange(num_frames) * 8 + np.arange(NUM_CODEBOOKS)[:, None]).astype(np.int16)


def frames(first: int, end: int) -> CodeFrames:
    """Frames first to end of `all_codes`."""
    return CodeFrames("r-1", first, all_codes(end)[:, first:], finished=False)


def saving(variation: VariationId, token: int, first: int, end: int, started: GenerationStart | None = None) -> Checkpoint:
    return Checkpoint(variation, token, started, frames(first, end) if end > first else None)
