"""Loudness as broadcasters measure it (ITU-R BS.1770-4), and sound brought to a loudness without clipping."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter1d, uniform_filter1d
from scipy.signal import lfilter

from etude.sound.mastering import PEAK, Sound

# BS.1770: blocks of 400 ms, a new one every 100 ms; those below -70 LUFS don't count, nor those 10 LU below the rest.
_BLOCK_S, _STEP_S = 0.4, 0.1
_SILENT_LUFS, _QUIETER_LU = -70.0, 10.0
_OFFSET_LU = -0.691

# The limiter turns down this long before a peak, and up again as fast.
_LOOK_AHEAD_S = 0.005

# Limiting makes a sound quieter, so its gain is found in rounds. It never takes more than this off a peak: a few hits
# in silence stay quieter than the target.
_ROUNDS, _MOST_LIMITING_DB = 4, 12.0


def loudness_lufs(sound: Sound, sample_rate: int) -> float:
    """Integrated loudness of a mono sound [samples]; minus infinity where nothing is louder than -70 LUFS.

    BS.1770-4 with one channel of weight 1. Its K-weighting is given for 48 kHz; here are the analog prototypes of
    those filters (De Man, AES 145, 2018), made for any rate.
    """
    power = np.square(_k_weighted(sound, sample_rate))
    step = round(_STEP_S * sample_rate)
    per_step = round(_BLOCK_S / _STEP_S)
    # A sound shorter than a block is a block with silence after it.
    padded = np.pad(power, (0, max(0, per_step * step - len(power))))
    steps = padded[: len(padded) // step * step].reshape(-1, step).sum(axis=1)
    blocks = np.convolve(steps, np.ones(per_step), mode="valid") / (per_step * step)
    audible = blocks[blocks > _power(_SILENT_LUFS)]
    if not len(audible):
        return -math.inf
    loud = audible[audible > audible.mean() * 10 ** (-_QUIETER_LU / 10)]
    return float(_OFFSET_LU + 10 * np.log10(loud.mean()))


def to_loudness(sound: Sound, target_lufs: float, sample_rate: int) -> Sound:
    """The sound at a loudness, its peaks limited to `PEAK`. [samples] in and out.

    Silence stays silence. What consists of a few peaks stays quieter than the target.
    """
    loudness = loudness_lufs(sound, sample_rate)
    if loudness == -math.inf:
        return sound
    peak = float(np.abs(sound).max())
    gain_db = target_lufs - loudness
    most_db = 20 * math.log10(PEAK / peak) + _MOST_LIMITING_DB
    limited: Sound = sound
    for _ in range(_ROUNDS):
        gain_db = min(gain_db, most_db)
        limited = limit((sound * 10 ** (gain_db / 20)).astype(np.float32), sample_rate)
        gain_db += target_lufs - loudness_lufs(limited, sample_rate)
    return limited


def limit(sound: Sound, sample_rate: int) -> Sound:
    """The sound with every sample within `PEAK`: turned down smoothly around what would be beyond. [samples]."""
    wanted = PEAK / np.maximum(np.abs(sound), PEAK)
    if wanted.min(initial=1.0) == 1.0:
        return sound
    width = 2 * round(_LOOK_AHEAD_S * sample_rate) + 1
    # A mean of minima over the same width is never above the gain that a sample needs.
    gain = uniform_filter1d(minimum_filter1d(wanted.astype(np.float64), width), width)
    limited: Sound = np.clip(sound * gain, -PEAK, PEAK).astype(np.float32)
    return limited


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - _OFFSET_LU) / 10))


def _k_weighted(sound: Sound, sample_rate: int) -> NDArray[np.float64]:
    """What a head does to sound, and how little the ear hears of the bass: a high shelf, then a high-pass."""
    k = math.tan(math.pi * 1681.974450955533 / sample_rate)
    q, high = 0.7071752369554196, 10 ** (3.999843853973347 / 20)
    middle = high**0.4996667741545416
    a = np.array([1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k])
    b = np.array([high + middle * k / q + k * k, 2 * (k * k - high), high - middle * k / q + k * k])
    shelved = lfilter(b / a[0], a / a[0], sound.astype(np.float64))
    k, q = math.tan(math.pi * 38.13547087602444 / sample_rate), 0.5003270373238773
    a = np.array([1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k])
    weighted: NDArray[np.float64] = lfilter(np.array([1.0, -2.0, 1.0]), a / a[0], shelved)
    return weighted
