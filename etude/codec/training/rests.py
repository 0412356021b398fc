"""Rests: some crops fall silent, so that a codec learns to be silent where nothing is played."""

from __future__ import annotations

import torch
from torch import Tensor

# The sound is gone within so many samples, 5 ms at 32 kHz.
_FADE = 160


def with_rests(sound: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """The crops [B, samples], about `share` of them silent from a random sample on. generator: a CPU's."""
    num_crops, num_samples = sound.shape
    rests = torch.rand(num_crops, generator=generator) < share
    starts = torch.rand(num_crops, generator=generator) * num_samples
    starts = torch.where(rests, starts, torch.tensor(float(num_samples + _FADE)))
    gain = (1 - (torch.arange(num_samples) - starts[:, None]) / _FADE).clamp(0, 1)
    return sound * gain.to(sound.device)
