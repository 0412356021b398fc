"""What is heard in one clip: all that the figures are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from etude.evaluation.pitch import chroma
from etude.evaluation.tempo import estimate_tempo, onset_envelope, onsets_per_second
from etude.evaluation.timbre import brightness, embed_seconds, log_mel, timbre

# Full scale, but for what rounding takes.
_FULL_SCALE = 0.999


@dataclass(frozen=True)
class Impression:
    """chroma: [12]. timbre: [features]. seconds: embeddings, [seconds, width]. brightness: in mel bands.
    level_db: RMS against full scale. clipped: the share of samples at full scale.
    """

    tempo_bpm: float
    onsets_per_second: float
    chroma: NDArray[np.float64]
    timbre: NDArray[np.float64]
    seconds: NDArray[np.float64]
    brightness: float
    level_db: float
    clipped: float


def listen(sound: NDArray[np.float32], sample_rate: int) -> Impression:
    """sound: [samples], a second at least."""
    envelope, rate = onset_envelope(sound, sample_rate)
    mel, moments_per_second = log_mel(sound, sample_rate)
    return Impression(
        tempo_bpm=estimate_tempo(envelope, rate),
        onsets_per_second=onsets_per_second(envelope, rate),
        chroma=chroma(sound, sample_rate),
        timbre=timbre(mel),
        seconds=embed_seconds(mel, moments_per_second),
        brightness=brightness(mel),
        level_db=float(10 * np.log10(max(np.square(sound.astype(np.float64)).mean(), 1e-12))),
        clipped=float((np.abs(sound) >= _FULL_SCALE).mean()),
    )
