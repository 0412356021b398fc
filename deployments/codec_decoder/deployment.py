"""The codec decoder as a Ray Serve deployment: a window of codes in, its sound out.

It keeps nothing between calls: what a clip carries from window to window travels with it, so that any replica can
decode any window. A batch would change the last bits of a clip and is no faster on a CPU (see `codec.py`), so the queue
is worked off a window at a time. A clip waits for each window before it sends the next: so clips take turns, and a long
one delays another's first sound by one window at most.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from deployments.batching import Batcher
from deployments.checkpoints.checkpoint import Checkpoint
from deployments.checkpoints.sources import find_checkpoint
from deployments.codec_decoder.codec import Codec, decode, decode_window
from deployments.messages import CodeWindow, DecodedWindow, SoundFormat
from deployments.paths import ROOT
from deployments.scaling_stats import EACH_PER_S, BusyThroughput
from deployments.telemetry.deployment import RayRecorder


class CodecDecoderDeployment:
    """Decodes windows of codes, one at a time.

    Args:
        source, revision: as `find_checkpoint` takes them.
        model: its name, for metrics.
        num_threads: of torch.
    """

    def __init__(self, source: str, revision: str | None, *, model: str = "none", num_threads: int = 1) -> None:
        torch.set_num_threads(num_threads)
        self._codec = Codec.from_checkpoint(Checkpoint.open(find_checkpoint(source, revision, root=ROOT)))
        self._batcher: Batcher[CodeWindow, DecodedWindow] = Batcher(
            self._decode,
            max_batch=1,
            name="codec decoder",
            recorder=RayRecorder().labelled(model=model, stage="codec_decoder"),
        )
        self._throughput = BusyThroughput()
        decode(self._codec, np.zeros((self._codec.num_codebooks, 60), np.int16))

    async def decode(self, window: CodeWindow) -> DecodedWindow:
        """The sound of a window, and the state for the next one.

        Raises:
            ValueError: As `codec.decode_window`.
        """
        return await self._batcher.submit(window)

    async def sound_format(self) -> SoundFormat:
        """What `decode` gives."""
        codec = self._codec
        return SoundFormat(codec.sample_rate, codec.channels, codec.frame_rate, codec.lookahead)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve: audio-seconds in a second of work."""
        return {EACH_PER_S: self._throughput.per_s}

    async def ping(self) -> None:
        """Answers once the deployment is up."""

    def check_health(self) -> None:
        """Called by Serve.

        Raises:
            AssertionError: When the batcher lost something.
        """
        self._batcher.check_integrity()

    def _decode(self, windows: Sequence[CodeWindow]) -> list[DecodedWindow]:
        decoded = []
        for window in windows:
            num_frames = window.end - (0 if window.state is None else window.state.num_frames)
            with self._throughput.timed(num_frames / self._codec.frame_rate):
                decoded.append(decode_window(self._codec, window))
        return decoded
