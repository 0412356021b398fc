"""Lines in a spectrum that no instrument plays: a comb of the codec's frame rate, a hum in silence."""

from __future__ import annotations

import torch
from torch import Tensor

# Notes have few partials above this, and what is there of hiss and cymbals lies between lines as much as on them.
_COMB_ABOVE_HZ = 2500.0
_ON_A_LINE_HZ = 2.0

# A quarter of a second tells lines apart by 8 Hz.
_HUM_WINDOW_S = 0.25


def comb_share(sound: Tensor, sample_rate: int, frame_rate: int) -> float | None:
    """Of a sound's energy above 2.5 kHz, the share within 2 Hz of multiples of the frame rate: [samples] → 0 to 1.

    White noise has 0.1 at 50 frames a second: 4 Hz of every 50, and what a window adds. None where nothing is so high.
    The sound must be seconds long, or lines can't be told from what is beside them.
    """
    power = torch.fft.rfft(sound.double() * torch.hann_window(len(sound), dtype=torch.float64)).abs().square()
    frequencies_hz = torch.arange(len(power), dtype=torch.float64) * sample_rate / len(sound)
    high = frequencies_hz > _COMB_ABOVE_HZ
    off_hz = (frequencies_hz - frame_rate * torch.round(frequencies_hz / frame_rate)).abs()
    total = float(power[high].sum())
    if total <= 1e-12 * max(1.0, float(power.sum())):
        return None
    return float(power[high & (off_hz <= _ON_A_LINE_HZ)].sum()) / total


def loudest_line_dbfs(sound: Tensor, sample_rate: int) -> float:
    """The level of the loudest sine in a sound [samples], at any time, DC apart; a full-scale sine has 0.

    Of a sound shorter than a quarter of a second the answer is that of the sound and silence.
    """
    window = round(_HUM_WINDOW_S * sample_rate)
    padded = torch.nn.functional.pad(sound.double(), (0, max(0, window - len(sound))))
    hann = torch.hann_window(window, dtype=torch.float64)
    spectra = torch.fft.rfft(padded.unfold(0, window, window // 4) * hann).abs() * (2 / hann.sum())
    # The first two bins are DC and what the window makes of it.
    return float(20 * torch.log10(spectra[:, 2:].max().clamp(min=1e-10)))
