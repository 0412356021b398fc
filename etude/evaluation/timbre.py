"""What sounds sound like: numbers for whole clips, and for seconds of them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from etude.codec.spectra import Spectrum

Features = NDArray[np.float64]

_WINDOW, _BANDS = 2048, 64

# Cepstral coefficients of a second: their means, deviations, and the deviations of their changes.
_COEFFICIENTS = 20
EMBEDDING_WIDTH = 3 * _COEFFICIENTS

# Moments this much below the loudest are no sound of their own.
_GATE = 4.6  # 40 dB, in nats of magnitude


def log_mel(sound: NDArray[np.float32], sample_rate: int) -> tuple[Features, float]:
    """[bands, moments], and how many moments a second."""
    spectrum = Spectrum(sample_rate, _WINDOW, _BANDS)
    with torch.no_grad():
        mel = spectrum.log_mel(spectrum.magnitude(torch.from_numpy(sound)[None]))[0]
    return mel.numpy().astype(np.float64), sample_rate / (_WINDOW / 4)


def timbre(mel: Features) -> Features:
    """What instruments are told by, whatever the level: each band's mean against the clip's own, its deviation, and
    how it comes and goes, over moments that sound: [4 · bands].
    """
    loudness = mel.max(axis=0)
    sounding = mel[:, loudness > loudness.max() - _GATE]
    changes = np.diff(mel, axis=1)
    comes, goes = np.maximum(changes, 0).mean(axis=1), np.maximum(-changes, 0).mean(axis=1)
    mean = sounding.mean(axis=1)
    return np.concatenate([mean - mean.mean(), sounding.std(axis=1), comes, goes])


def embed_seconds(mel: Features, moments_per_second: float) -> Features:
    """A fixed embedding, learned from nothing: [seconds, EMBEDDING_WIDTH].

    Of each whole second the first 20 cepstral coefficients (the orthonormal cosine transform of 64 log-mel bands):
    their means, their standard deviations, and the standard deviations of their changes.
    """
    bands = np.arange(_BANDS)
    rows = np.arange(_COEFFICIENTS)[:, None]
    transform = np.sqrt(2 / _BANDS) * np.cos(np.pi / _BANDS * (bands + 0.5) * rows)
    transform[0] /= np.sqrt(2)
    cepstrum = transform @ mel
    size = round(moments_per_second)
    seconds = [cepstrum[:, start : start + size] for start in range(0, cepstrum.shape[1] - size + 1, size)]
    found = [
        np.concatenate([each.mean(axis=1), each.std(axis=1), np.diff(each, axis=1).std(axis=1)]) for each in seconds
    ]
    return np.array(found).reshape(-1, EMBEDDING_WIDTH)


def brightness(mel: Features) -> float:
    """The mean band of a clip's magnitude, moments counting by how loud they are."""
    magnitude = np.exp(mel)
    return float((np.arange(_BANDS)[:, None] * magnitude).sum() / magnitude.sum())
