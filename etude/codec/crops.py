"""Crops of rendered pieces: what a training step sees is a function of the data, the seed and the step's number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from etude.shards import read_clips
from etude.sound.render import SAMPLE_RATE


class Crops:
    """Sound of a folder that `etude.dataset` made, mapped into memory, at a sample rate that divides the data's.

    Raises FileNotFoundError for a folder without shards; ValueError where no piece is long enough for a crop, or for a
    sample rate that 32 kHz is no multiple of.
    """

    def __init__(self, folder: Path, *, sample_rate: int, num_samples: int, seed: int = 0) -> None:
        if SAMPLE_RATE % sample_rate:
            raise ValueError(f"the sample rate must divide the data's, {SAMPLE_RATE}, and {sample_rate} doesn't")
        self._every = SAMPLE_RATE // sample_rate
        self._length = num_samples * self._every
        self._seed = seed
        self._pieces = [clip.pcm for clip in read_clips(folder) if len(clip.pcm) >= self._length]
        if not self._pieces:
            raise ValueError(f"no piece in {folder} is as long as a crop, {num_samples / sample_rate} s")

    def __len__(self) -> int:
        """How many pieces crops are taken from."""
        return len(self._pieces)

    def batch(self, step: int, size: int, process: int = 0) -> Tensor:
        """Random crops of random pieces, float32 [size, num_samples]; others for every step and process."""
        draw = np.random.default_rng([self._seed, process, step])
        pieces = [self._pieces[i] for i in draw.integers(len(self._pieces), size=size)]
        starts = [draw.integers(len(piece) - self._length, endpoint=True) for piece in pieces]
        return self._sound([piece[start : start + self._length] for piece, start in zip(pieces, starts, strict=True)])

    def beginnings(self, first: int, size: int) -> Tensor:
        """The beginnings of `size` pieces from number `first` on, fewer at the end: float32 [size, num_samples]."""
        return self._sound([piece[: self._length] for piece in self._pieces[first : first + size]])

    def _sound(self, pieces: list[np.ndarray]) -> Tensor:
        return _decimate(torch.from_numpy(np.stack(pieces)).float() / 32768, self._every)


def _decimate(sound: Tensor, every: int) -> Tensor:
    """One sample in place of `every`, by an ideal low-pass over the whole length. sound: [B, samples]."""
    if every == 1:
        return sound
    num_samples = sound.shape[-1] // every
    spectrum = torch.fft.rfft(sound)[:, : num_samples // 2 + 1]
    decimated: Tensor = torch.fft.irfft(spectrum, n=num_samples)
    return decimated / every
