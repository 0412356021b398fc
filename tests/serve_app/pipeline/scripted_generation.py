"""A generation on scripted workers, and one subscriber to it."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from deployments.messages import CodeFrames
from serve_app.pipeline.generation import Generation
from serve_app.pipeline.subscribers import Subscription
from serve_app.pipeline.workers import RetryTurns
from serve_app.settings.model import Deadline
from tests.serve_app.pipeline.scripted_stages import InMemoryLeases, ScriptedStages, work


def new_generation(
    stages: ScriptedStages, seed: int = 1, retry_turns: RetryTurns | None = None, **options: Any
) -> Generation:
    deadline = options.pop("deadline", Deadline(2.0, 60.0))
    return Generation(work(seed), stages, retry_turns or RetryTurns("scripted", InMemoryLeases()), deadline, **options)


async def receive_all(subscription: Subscription | None, first_frame: int = 0) -> np.ndarray:
    """All codes that a subscriber receives, int16 [4, n]."""
    assert subscription is not None
    parts, at = [np.zeros((4, 0), np.int16)], first_frame
    async for item in subscription.stream(first_frame):
        if isinstance(item, CodeFrames):
            assert item.first_frame == at
            at += item.codes.shape[1]
            parts.append(item.codes)
    return np.concatenate(parts, axis=1)


async def run_to_end(generation: Generation, num_frames: int) -> np.ndarray:
    listening = asyncio.create_task(receive_all(generation.join(num_frames)))
    await generation.run()
    return await listening
