"""Which pitches sound: the chroma of a clip, and how much of it belongs to a key."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from etude.codec.spectra import Spectrum

_WINDOW_S = 0.256
_LOWEST_HZ, _HIGHEST_HZ = 80.0, 2000.0
_A_HZ, _A_CLASS = 440.0, 9

# A partial is a peak this much above the median of its moment; noise has none.
_STANDS_OUT = 6.0


def chroma(sound: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """The share of each pitch class, from C, in the energy of all partials: [12], or all zero where there is none.

    A partial is a local maximum of a moment's spectrum, with the frequency and the height of the parabola through the
    logarithms there.
    """
    window = 1 << round(np.log2(_WINDOW_S * sample_rate))
    spectrum = Spectrum(sample_rate, window, 1)
    with torch.no_grad():
        magnitude = spectrum.magnitude(torch.from_numpy(sound)[None])[0].double().numpy()
    logs = np.log(magnitude)
    left, middle, right = logs[:-2], logs[1:-1], logs[2:]
    is_peak = (middle > left) & (middle > right) & (middle > np.median(logs, axis=0) + np.log(_STANDS_OUT))
    bins = np.nonzero(is_peak)[0]
    left, middle, right = left[is_peak], middle[is_peak], right[is_peak]
    offsets = (left - right) / (2 * (left - 2 * middle + right))
    energies = np.exp(2 * (middle - (left - right) * offsets / 4))
    frequencies_hz = (bins + 1 + offsets) * sample_rate / window
    heard = (frequencies_hz >= _LOWEST_HZ) & (frequencies_hz <= _HIGHEST_HZ)
    classes = np.round(12 * np.log2(frequencies_hz[heard] / _A_HZ) + _A_CLASS).astype(int) % 12
    weights: NDArray[np.float64] = np.zeros(12)
    np.add.at(weights, classes, energies[heard])
    weights /= max(weights.sum(), 1e-12)
    return weights


def share_in_key(chroma: NDArray[np.float64], pitch_classes: Sequence[int]) -> float:
    """How much of the chroma belongs to a key; 0 where nothing has a pitch."""
    return float(chroma[list(pitch_classes)].sum())
