"""Onsets, and the tempo in them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from etude.codec.spectra import Spectrum

Envelope = NDArray[np.float64]

_WINDOW, _BANDS = 1024, 48

# What is tried, and which of two tempi that fit alike is likelier: people tap near 110, an octave off half as often.
_CANDIDATES_BPM = np.arange(55.0, 190.0, 0.5)
_LIKELY_BPM, _SPREAD_OCTAVES = 110.0, 1.0

# A tempo is heard in so many beats to come, the nearest counting most.
_BEATS = 6

# An onset stands out of its surroundings, so wide, by so many standard deviations of the whole.
_AROUND_S, _STANDS_OUT = 0.1, 0.6

# What counts as right: how far off, and an octave of it.
TOLERANCE = 0.08
OCTAVES = (0.5, 1.0, 2.0)


def onset_envelope(sound: NDArray[np.float32], sample_rate: int) -> tuple[Envelope, float]:
    """How much begins at each moment, as the growth of mel bands' log magnitudes; and how many moments a second.

    The mean over two seconds is taken off, so that what is steady counts as nothing.
    """
    spectrum = Spectrum(sample_rate, _WINDOW, _BANDS)
    with torch.no_grad():
        mel = spectrum.log_mel(spectrum.magnitude(torch.from_numpy(sound)[None]))[0].double().numpy()
    growth = np.maximum(mel[:, 2:] - mel[:, :-2], 0).mean(axis=0)
    rate = sample_rate / (_WINDOW / 4)
    width = min(len(growth), round(2 * rate))
    around = np.convolve(growth, np.ones(width) / width, mode="same") if width else growth
    return growth - around, rate


def estimate_tempo(envelope: Envelope, rate: float) -> float:
    """Beats a minute; the likeliest before anything is heard where nothing is."""
    size = len(envelope)
    if size < 2 or not envelope.any():
        return _LIKELY_BPM
    spectrum = np.fft.rfft(envelope, 2 * size)
    likeness = np.fft.irfft(np.abs(spectrum) ** 2)[:size]
    # Fewer moments are compared the further apart they are.
    likeness /= likeness[0] * (1 - np.arange(size) / size) + 1e-12
    scores = np.zeros(len(_CANDIDATES_BPM))
    for beat in range(1, _BEATS + 1):
        lags = 60 * rate * beat / _CANDIDATES_BPM
        scores += np.interp(lags, np.arange(size), likeness, right=0.0) / np.sqrt(beat)
    octaves = np.log2(_CANDIDATES_BPM / _LIKELY_BPM)
    scores = np.maximum(scores, 0) * np.exp(-0.5 * (octaves / _SPREAD_OCTAVES) ** 2)
    return float(_CANDIDATES_BPM[scores.argmax()])


def agrees(heard_bpm: float, asked_bpm: float) -> bool:
    """Whether a tempo is the one that was asked for, or its half or double, within the tolerance."""
    return any(abs(heard_bpm / (asked_bpm * octave) - 1) <= TOLERANCE for octave in OCTAVES)


def onsets_per_second(envelope: Envelope, rate: float) -> float:
    """How many peaks stand out of the envelope."""
    if not envelope.any():
        return 0.0
    reach = max(1, round(_AROUND_S / 2 * rate))
    around = np.lib.stride_tricks.sliding_window_view(np.pad(envelope, reach), 2 * reach + 1).max(axis=1)
    peaks = (envelope == around) & (envelope > _STANDS_OUT * envelope.std())
    return float(peaks.sum() / len(envelope) * rate)
