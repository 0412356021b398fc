"""A short run through everything a request meets, so that the first one does not pay for it."""

from __future__ import annotations

import numpy as np

from deployments.language_model.engine import Engine
from deployments.language_model.errors import EngineFull
from deployments.messages import CodeRequest, Sampling


def warm_up(engine: Engine, num_frames: int = 4) -> None:
    """Fills every slot once, as far as there is memory, with all kinds of sampling. Leaves the engine idle."""
    states = np.zeros((8, engine.config.text_width), np.float32)
    prompt = np.zeros((engine.config.num_codebooks, num_frames - 1), np.int16)
    kinds = [Sampling(), Sampling(guidance_scale=1.0), Sampling(temperature=0.0), Sampling(top_p=0.9)]
    for i in range(engine.scheduler.num_slots):
        codes = prompt if i % 2 else None
        _add(engine, CodeRequest(f"warm-up-{i}", states, num_frames, i, kinds[i % len(kinds)], codes))
    while not engine.idle:
        engine.step()


def _add(engine: Engine, request: CodeRequest) -> None:
    """At once, or after those before it have made room."""
    while True:
        try:
            return engine.add(request)
        except EngineFull:
            engine.step()
