"""The envelope: how loud every band is in every frame, free of phase, in as few numbers as tell most of it.

Mel bands of two windows round each frame: low ones of the long window, which tells pitches apart, high ones of the
short one, which tells when things begin.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.audio_utils import mel_filter_bank

from etude.codec.spectra import FLOOR

BANDS = 80

# Windows in hops, and how many bands are of the first.
_LONG, _SHORT = 4, 2
_LOW_BANDS = 28


@dataclass(frozen=True)
class Envelope:
    """mean: [BANDS]. directions: [width, BANDS], orthonormal, along which bands vary most. scale: of the latents."""

    mean: Tensor
    directions: Tensor
    scale: float

    def latents(self, bands: Tensor) -> Tensor:
        """[..., BANDS] → [..., width]."""
        return (bands - self.mean) @ self.directions.T * self.scale

    @classmethod
    def of_bands(cls, bands: Tensor, width: int, wanted: int) -> Envelope:
        """The first principal components of frames [N, BANDS]; their variances add up to about `wanted`."""
        mean = bands.mean(0)
        _, deviations, directions = torch.linalg.svd(bands - mean, full_matrices=False)
        total = deviations.square().sum() / len(bands)
        return cls(mean, directions[:width], float((wanted / total).sqrt()))


def log_bands(sound: Tensor, sample_rate: int, hop: int) -> Tensor:
    """The natural logarithm of mel bands' magnitudes round each frame: [B, samples] → [B, frames, BANDS]."""
    long, short = (_log_mel(sound, sample_rate, hop, hops) for hops in (_LONG, _SHORT))
    return torch.cat([long[..., :_LOW_BANDS], short[..., _LOW_BANDS:]], dim=-1)


def _log_mel(sound: Tensor, sample_rate: int, hop: int, hops: int) -> Tensor:
    window = hops * hop
    hann = torch.hann_window(window)
    filters = mel_filter_bank(window // 2 + 1, BANDS, 0.0, sample_rate / 2, sample_rate)
    mel = torch.from_numpy(filters).float()
    padded = F.pad(sound, ((window - hop) // 2, (window - hop) // 2))
    spectrum = torch.stft(padded, window, hop, window=hann / hann.sum(), center=False, return_complex=True)
    return torch.log(spectrum.abs().transpose(1, 2) @ (mel / mel.sum(0).clamp(min=1e-6)) + FLOOR)
