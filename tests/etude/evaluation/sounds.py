"""Sounds of which everything is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RATE = 32000


def clicks(bpm: float, seconds: float = 10.0) -> NDArray[np.float32]:
    """A burst of noise on every beat, the first one late."""
    draw = np.random.default_rng(0)
    sound = np.zeros(round(seconds * RATE), dtype=np.float32)
    burst = (draw.standard_normal(2000) * np.exp(-np.arange(2000) / 300)).astype(np.float32)
    for start in (np.arange(0.1, seconds - 0.1, 60 / bpm) * RATE).astype(int):
        sound[start : start + len(burst)] += 0.3 * burst[: len(sound) - start]
    return sound


def tones(frequencies_hz: Sequence[float], seconds: float = 2.0, level: float = 0.1) -> NDArray[np.float32]:
    """Sines together."""
    time_s = np.arange(round(seconds * RATE)) / RATE
    return sum((level * np.sin(2 * np.pi * each * time_s) for each in frequencies_hz), np.zeros_like(time_s)).astype(
        np.float32
    )


def hiss(seconds: float = 2.0, level: float = 0.1, seed: int = 0) -> NDArray[np.float32]:
    """White noise."""
    draw = np.random.default_rng(seed)
    return (level * draw.standard_normal(round(seconds * RATE))).astype(np.float32)
