"""How far a sound is off zero."""

from __future__ import annotations

import torch
from torch import Tensor


def largest_dc(sound: Tensor, sample_rate: int) -> float:
    """The largest mean of any second of a sound [samples], whichever its sign, under a Hann window.

    Under that window a tone of 40 Hz or more counts for nothing.
    """
    window = min(sample_rate, len(sound))
    hann = torch.hann_window(window, dtype=torch.float64)
    seconds = sound.double().unfold(0, window, max(1, window // 2))
    return float(((seconds * hann).sum(1) / hann.sum()).abs().max())
