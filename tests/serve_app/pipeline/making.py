"""A generation on scripted workers, and one who listens to it."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from deployments.messages import CodeFrames
from serve_app.pipeline.generation import Generation
from serve_app.pipeline.subscribers import Ticket
from serve_app.pipeline.workers import Suspects
from serve_app.settings.model import Deadline
from tests.serve_app.pipeline.scripted import OneTurn, ScriptedStages, work


def begun(stages: ScriptedStages, seed: int = 1, suspects: Suspects | None = None, **options: Any) -> Generation:
    deadline = options.pop("deadline", Deadline(2.0, 60.0))
    return Generation(work(seed), stages, suspects or Suspects("scripted", OneTurn()), deadline, **options)


async def heard(ticket: Ticket | None, first_frame: int = 0) -> np.ndarray:
    """All that a listener hears, int16 [4, n]."""
    assert ticket is not None
    parts, at = [np.zeros((4, 0), np.int16)], first_frame
    async for item in ticket.listen(first_frame):
        if isinstance(item, CodeFrames):
            assert item.first_frame == at
            at += item.codes.shape[1]
            parts.append(item.codes)
    return np.concatenate(parts, axis=1)


async def made(generation: Generation, num_frames: int) -> np.ndarray:
    listening = asyncio.create_task(heard(generation.join(num_frames)))
    await generation.run()
    return await listening
