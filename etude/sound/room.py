"""Rooms: a reverb of our own, as the impulse response of a room that never was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from etude.sound.mastering import Sound

# Walls and air take treble first: the bands between these frequencies die away in such shares of the room's time.
_BORDERS_HZ = (400.0, 3000.0)
_SHARES = (1.15, 1.0, 0.5)

_EARLY = 6
_EARLY_S = (0.006, 0.04)


@dataclass(frozen=True)
class Room:
    """decay_s: until reverberation has lost 60 dB. delay_s: before it begins. wet_db: its energy against the direct
    sound's. seed: other seeds, other walls.
    """

    decay_s: float
    delay_s: float
    wet_db: float
    seed: int

    def impulse_response(self, sample_rate: int) -> NDArray[np.float64]:
        """The direct sound, 1 at sample 0, a few early reflections and a tail of decaying noise (Moorer 1979)."""
        draw = np.random.default_rng(self.seed)
        length = round(max(self.decay_s, _EARLY_S[1]) * sample_rate)
        noise = np.fft.rfft(draw.standard_normal(length))
        frequencies_hz = np.fft.rfftfreq(length, 1 / sample_rate)
        times_s = np.arange(length) / sample_rate
        tail = np.zeros(length)
        edges = [0.0, *_BORDERS_HZ, sample_rate]
        for low, high, share in zip(edges[:-1], edges[1:], _SHARES, strict=True):
            band = np.fft.irfft(noise * ((frequencies_hz >= low) & (frequencies_hz < high)), length)
            tail += band * 10 ** (-3 * times_s / (share * self.decay_s))
        tail *= (np.square(tail).sum()) ** -0.5
        early = np.zeros(length)
        places_s = draw.uniform(*_EARLY_S, size=_EARLY)
        early[np.round(places_s * sample_rate).astype(int) - 1] = draw.choice([-1, 1], _EARLY) * _EARLY_S[0] / places_s
        wet = tail + early * (2 * np.square(early).sum()) ** -0.5
        wet *= 10 ** (self.wet_db / 20) / np.sqrt(np.square(wet).sum())
        direct = max(1, round(self.delay_s * sample_rate))
        return np.concatenate([[1.0], np.zeros(direct - 1), wet])

    def sound_in(self, sound: Sound, sample_rate: int) -> Sound:
        """The sound as it is heard in the room, cut where it ends: [samples] in and out."""
        heard: Sound = fftconvolve(sound, self.impulse_response(sample_rate))[: len(sound)].astype(np.float32)
        return heard
