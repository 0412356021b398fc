"""The text encoder as a Ray Serve deployment: prompts in, text states out, batched as they come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from deployments.batching import Batcher
from deployments.checkpoints.checkpoint import Checkpoint
from deployments.checkpoints.sources import find_checkpoint
from deployments.paths import ROOT
from deployments.scaling_stats import EACH_PER_S, BusyThroughput
from deployments.telemetry.deployment import RayRecorder
from deployments.text_encoder.encoder import RecentStates, TextEncoder


class TextEncoderDeployment:
    """Encodes prompts, in batches as they come.

    Args:
        source, revision: as `find_checkpoint` takes them.
        model: its name, for metrics.
        num_threads: of torch.
        max_batch: prompts in one run.
    """

    def __init__(
        self, source: str, revision: str | None, *, model: str = "none", num_threads: int = 1, max_batch: int = 16
    ) -> None:
        torch.set_num_threads(num_threads)
        self._encoder = encoder = TextEncoder.from_checkpoint(
            Checkpoint.open(find_checkpoint(source, revision, root=ROOT))
        )
        encoder.encode(["warm"])
        self._recent = RecentStates()
        self._throughput = BusyThroughput()
        self._batcher: Batcher[str, np.ndarray] = Batcher(
            self._encode,
            max_batch=max_batch,
            name="text encoder",
            recorder=RayRecorder().labelled(model=model, stage="text_encoder"),
        )

    async def encode(self, prompt: str) -> np.ndarray:
        """Text states, float32 [S, D]; those of a recent prompt from the cache."""
        states = self._recent.get(prompt)
        if states is None:
            states = await self._batcher.submit(prompt)
            self._recent.put(prompt, states)
        return states

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve: prompts in a second of work."""
        return {EACH_PER_S: self._throughput.per_s}

    async def ping(self) -> None:
        """Answers once the deployment is up."""

    def check_health(self) -> None:
        """Called by Serve.

        Raises:
            AssertionError: When the batcher or the cache lost something.
        """
        self._batcher.check_integrity()
        self._recent.check_integrity()

    def _encode(self, prompts: Sequence[str]) -> list[np.ndarray]:
        with self._throughput.timed(len(prompts)):
            return self._encoder.encode(prompts)
