"""What is done to a recording before it goes out: treble, rumble, fades, level."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Sound = NDArray[np.float32]

# The highest sample that goes out. What is rounded to 16 bits, or coded, may overshoot a little.
PEAK = 0.9

# Blocks this much below the loudest are taken for silence where loudness is measured.
_BLOCK_S, _GATE_DB = 0.1, 40.0


def low_pass(sound: Sound, cutoff_hz: float, sample_rate: int) -> Sound:
    """Takes 12 dB an octave off above the cutoff, and 3 dB at it, with no phase of its own. [samples] in and out."""
    # The filter rings for milliseconds; silence at the end keeps it from coming round to the beginning.
    padding = sample_rate // 10
    spectrum = np.fft.rfft(sound, len(sound) + padding)
    frequencies_hz = np.fft.rfftfreq(len(sound) + padding, 1 / sample_rate)
    filtered = np.fft.irfft(spectrum / np.sqrt(1 + (frequencies_hz / cutoff_hz) ** 4), len(sound) + padding)
    return filtered[: len(sound)].astype(np.float32)


def high_pass(sound: Sound, cutoff_hz: float, sample_rate: int) -> Sound:
    """Takes 12 dB an octave off below the cutoff, 3 dB at it, and all of the DC, without a phase. [samples]."""
    padding = sample_rate // 10
    spectrum = np.fft.rfft(sound, len(sound) + padding)
    ratio = (np.fft.rfftfreq(len(sound) + padding, 1 / sample_rate) / cutoff_hz) ** 2
    filtered = np.fft.irfft(spectrum * ratio / np.sqrt(1 + ratio**2), len(sound) + padding)
    return filtered[: len(sound)].astype(np.float32)


def fade_in(sound: Sound, seconds: float, sample_rate: int) -> Sound:
    """From silence, in a quarter of a sine."""
    return fade_out(sound[::-1], seconds, sample_rate)[::-1]


def fade_out(sound: Sound, seconds: float, sample_rate: int) -> Sound:
    """To silence, in a quarter of a cosine; the last sample is all but 0."""
    num_samples = min(round(seconds * sample_rate), len(sound))
    curve = np.ones(len(sound), dtype=np.float32)
    curve[len(sound) - num_samples :] = np.cos(np.linspace(0, np.pi / 2, num_samples, dtype=np.float32))
    return sound * curve


def loudness_db(sound: Sound, sample_rate: int) -> float:
    """RMS against full scale of the blocks in which anything sounds; minus infinity for silence."""
    block = max(1, round(_BLOCK_S * sample_rate))
    padded = np.pad(sound, (0, -len(sound) % block)).reshape(-1, block).astype(np.float64)
    power = np.square(padded).mean(axis=1)
    loudest = power.max(initial=0.0)
    if loudest == 0:
        return -np.inf
    return float(10 * np.log10(power[power > loudest * 10 ** (-_GATE_DB / 10)].mean()))


def level(sound: Sound, target_db: float, sample_rate: int) -> Sound:
    """The sound at a loudness, or as near to it as keeps every sample within `PEAK`. Silence stays silence."""
    loudness = loudness_db(sound, sample_rate)
    if loudness == -np.inf:
        return sound
    return below_peak(sound * 10 ** ((target_db - loudness) / 20))


def below_peak(sound: Sound) -> Sound:
    """The sound itself, or as much quieter as keeps every sample within `PEAK`."""
    return (sound * min(1.0, PEAK / max(float(np.abs(sound).max(initial=0.0)), PEAK))).astype(np.float32)


def to_int16(sound: Sound) -> NDArray[np.int16]:
    """16 bits, as files and shards keep it. Raises ValueError for samples beyond full scale."""
    if len(sound) and float(np.abs(sound).max()) > 1.0:
        raise ValueError("samples beyond full scale would clip")
    return np.round(sound * 32767).astype(np.int16)
