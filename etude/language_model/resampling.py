"""Sound at another sample rate."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly


def resample(sound: NDArray[np.float32], from_rate: int, to_rate: int) -> NDArray[np.float32]:
    """[C, samples] in and out, by a windowed-sinc low-pass below the lower of the two rates."""
    if from_rate == to_rate:
        return sound
    common = math.gcd(from_rate, to_rate)
    resampled: NDArray[np.float32] = resample_poly(sound, to_rate // common, from_rate // common, axis=1)
    return resampled.astype(np.float32)
