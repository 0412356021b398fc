"""The text encoder as a Ray Serve deployment: prompts in, text states out, batched as they come."""

from __future__ import annotations

import numpy as np
import torch

from deployments.batching import Batcher
from deployments.checkpoints.checkpoint import Checkpoint
from deployments.checkpoints.find import find_checkpoint
from deployments.checkpoints.root import ROOT
from deployments.text_encoder.encoder import TextEncoder
from deployments.text_encoder.recent import RecentStates


class TextEncoderDeployment:
    """source, revision: as `find_checkpoint` takes them. num_threads: of torch. max_batch: prompts in one run."""

    def __init__(self, source: str, revision: str | None, *, num_threads: int = 1, max_batch: int = 16) -> None:
        torch.set_num_threads(num_threads)
        encoder = TextEncoder.from_checkpoint(Checkpoint.open(find_checkpoint(source, revision, root=ROOT)))
        encoder.encode(["warm"])
        self._recent = RecentStates()
        self._batcher: Batcher[str, np.ndarray] = Batcher(encoder.encode, max_batch=max_batch, name="text encoder")

    async def encode(self, prompt: str) -> np.ndarray:
        """Text states, float32 [S, D]; those of a recent prompt as they were."""
        states = self._recent.get(prompt)
        if states is None:
            states = await self._batcher.submit(prompt)
            self._recent.keep(prompt, states)
        return states

    async def ping(self) -> None:
        """Answers once the deployment is up."""

    def check_health(self) -> None:
        """Called by Serve. Raises: AssertionError."""
        self._batcher.check_integrity()
        self._recent.check_integrity()
