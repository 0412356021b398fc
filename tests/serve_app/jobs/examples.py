"""Jobs and their parts as tests need them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from deployments.messages import EngineIdentity, GenerationStart, MusicRequest, Sampling
from serve_app.job import Job, JobState, Submission, Variation

FRAMES = 300
IDENTITY = EngineIdentity("f" * 64, "scripted", 2048)


def request(seed: int | None = 1, **fields: Any) -> MusicRequest:
    return replace(MusicRequest("r", "tiny", "a tone", 6_000, seed, Sampling()), **fields)


def submission(tenant: str = "a", seeds: tuple[int | None, ...] = (1,), **fields: Any) -> Submission:
    plain = Submission(tenant, "", request(seeds[0], queue="batch"), seeds, FRAMES, "d" * 64)
    return replace(plain, **fields)


def start(seed: int = 1) -> GenerationStart:
    states = np.arange(12, dtype=np.float32).reshape(3, 4)
    return GenerationStart(f"{seed:064x}", seed, "miss", IDENTITY, text_states=states)


def job(version: int, state: JobState = "running", position: int | None = None, job_id: str = "1" * 32) -> Job:
    variation = Variation(0, state, 1, 0, FRAMES)
    return Job(job_id, "a", request(), "batch", 0.0, (variation,), version, position)
