"""Spectra of sound, as the losses and the figures compare them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

# Magnitudes are of a scale on which a full-scale sine has 0.5. What lies below this, 74 dB below that sine, is silence.
FLOOR = 1e-4


class Spectrum(nn.Module):
    """Short-time spectra with a Hann window, a quarter of it from one to the next, and their mel bands.

    sample_rate: in Hz. window: in samples. bands: number of mel bands.
    """

    hann: Tensor
    mel: Tensor

    def __init__(self, sample_rate: int, window: int, bands: int) -> None:
        super().__init__()
        filters = torch.from_numpy(mel_filter_bank(window // 2 + 1, bands, 0.0, sample_rate / 2, sample_rate)).float()
        hann = torch.hann_window(window)
        self.register_buffer("hann", hann / hann.sum(), persistent=False)
        self.register_buffer("mel", filters / filters.sum(0), persistent=False)

    def magnitude(self, sound: Tensor) -> Tensor:
        """[B, samples] → [B, window / 2 + 1, times]."""
        window = len(self.hann)
        spectrum = torch.stft(sound, window, window // 4, window=self.hann, return_complex=True)
        # The gradient of a magnitude has no limit at zero; with this it is zero there.
        return torch.sqrt(spectrum.real.square() + spectrum.imag.square() + 1e-14)

    def log_mel(self, magnitude: Tensor) -> Tensor:
        """The natural logarithm of the mean magnitude in each mel band: [B, bins, times] → [B, bands, times]."""
        return torch.log(magnitude.transpose(1, 2) @ self.mel + FLOOR).transpose(1, 2)
