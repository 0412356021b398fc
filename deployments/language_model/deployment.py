"""The language model as a Ray Serve deployment: text states in, a stream of code frames out."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import psutil

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.checkpoints.find import find_checkpoint
from deployments.checkpoints.root import ROOT
from deployments.language_model.engine import Engine
from deployments.language_model.engine_loop import EngineLoad, EngineLoop
from deployments.language_model.loading import load_decoder
from deployments.language_model.warm_up import warm_up
from deployments.messages import CodeFrames, CodeRequest


class LanguageModelDeployment:
    """source, revision: as `find_checkpoint` takes them. num_threads: of torch on a CPU; None: all physical cores.

    The rest as `Engine` takes it. Ready once the model is warm.
    """

    def __init__(
        self,
        source: str,
        revision: str | None,
        *,
        dtype: str,
        device: str,
        num_slots: int,
        max_waiting: int,
        max_duration_ms: int,
        num_threads: int | None = None,
    ) -> None:
        def build() -> Engine:
            checkpoint = Checkpoint.open(find_checkpoint(source, revision, root=ROOT))
            max_frames = -(-max_duration_ms * checkpoint.codec_config.frame_rate // 1000)
            decoder = load_decoder(checkpoint, dtype, device, max_frames, num_threads or _num_cores())
            engine = Engine(decoder, num_slots=num_slots, max_waiting=max_waiting, max_frames=max_frames)
            warm_up(engine)
            return engine

        self._loop = EngineLoop(build, name="engine")

    async def generate(self, request: CodeRequest) -> AsyncGenerator[CodeFrames, None]:
        """Raises: as `EngineLoop.generate`. Cancelled, it frees the slot."""
        async for frames in self._loop.generate(request):
            yield frames

    async def load(self) -> EngineLoad:
        """Slots and queue, after a check that none of them is lost. Raises: AssertionError, EngineFailed."""
        await self._loop.check_integrity()
        return self._loop.load

    async def ping(self) -> None:
        """Answers once the deployment is up."""

    def check_health(self) -> None:
        """Called by Serve. Raises: EngineFailed."""
        self._loop.check_health()


def _num_cores() -> int:
    """Physical cores this process may run on: hyper-threads share the units that a matrix product keeps busy."""
    allowed = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else psutil.cpu_count()
    return max(1, min(allowed or 1, psutil.cpu_count(logical=False) or 1))
