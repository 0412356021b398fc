"""What the pipeline needs of the deployments that make a generation, and how it learns that one is gone."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

import numpy as np

from deployments.messages import Beat, CodeFrames, CodeRequest, EngineIdentity, QueueClass, SoundFormat


class WorkerLost(Exception):
    """The replica that was at work is gone, or as good as gone; nothing more comes from it."""


class Stages(Protocol):
    """One model's deployments, as far as codes need them. Every call raises WorkerLost where its replica is lost."""

    async def encode(self, prompt: str) -> np.ndarray:
        """Text states, float32 [S, D]."""
        ...

    def generate(self, request: CodeRequest) -> AsyncGenerator[CodeFrames | Beat, None]:
        """Frames in order, from the first not among the prompt codes to the last, and signs of life between them.

        Closing it frees the slot. Raises: EngineFull; OtherEngine; OutOfMemory; ValueError.
        """
        ...

    async def sound_format(self) -> SoundFormat: ...

    async def identity(self, queue: QueueClass) -> EngineIdentity:
        """Of the queue class's engine that answers first."""
        ...
