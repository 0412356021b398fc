"""Measures how a clip sounds: one pass over the sound as it comes, in pieces of any size.

The sound is measured in frames of 60 ms (three of the codec's, at 50 a second) and blocks of 16 frames. Their borders
depend on the sample's number only, so the result does not depend on the pieces, to the last bit.
"""

from __future__ import annotations

import numpy as np

from serve_app.job import SoundHealth
from serve_app.sound.containers import check_pcm

FRAME_S = 0.06
# The root mean square below which a frame is silent, relative to full scale: -60 dB.
SILENCE = 1e-3
# The largest value of 16 bits. Fewer than MIN_RUN samples in a row may be a peak that just reaches it.
FULL_SCALE = 1 - 2**-15
MIN_RUN = 3
# The range of fundamentals that are searched for.
MIN_PITCH_HZ, MAX_PITCH_HZ = 60.0, 1000.0
# A clip has collapsed when its end is dead for at least this share of it, and for at least so many seconds.
DEAD_PART, MIN_DEAD_S = 0.25, 1.0
# Two frames are the same when no sample differs by more than a step of 16 bits.
_SAME = 2**-15
# The codec's last frames differ even where its codes repeat, because of its padding at the end.
_END_FRAMES = 2
_BLOCK_FRAMES = 16
_SMALLEST = np.finfo(np.float32).tiny


class HealthMeter:
    """Takes one clip's sound in order, in pieces of any size. Not thread-safe."""

    def __init__(self, sample_rate: int) -> None:
        """sample_rate: samples a second."""
        self._sample_rate = sample_rate
        self._frame = round(sample_rate * FRAME_S)
        self._lags = slice(round(sample_rate / MAX_PITCH_HZ), round(sample_rate / MIN_PITCH_HZ) + 1)
        self._window = np.hanning(self._frame + 1)[:-1].astype(np.float32)
        self._own = self._autocorrelation(_power(self._window[None])[0])
        self._pieces: list[np.ndarray] = []
        self._num_pending = 0
        self._num_samples = 0  # per channel, measured so far
        self._num_channels = 0
        self._num_frames = 0
        self._num_silent = 0
        self._num_sounding = 0
        self._num_clipped = 0
        self._flatness = 0.0
        self._harmonicity = 0.0
        self._alive: list[bool] = []  # of each whole frame, whether it is neither silent nor the same as the one before
        self._last_frame: np.ndarray | None = None
        self._last_full: np.ndarray | None = None

    def add(self, pcm: np.ndarray) -> None:
        """pcm: float [C, n], the next samples, clamped as in a file. Raises: ValueError as `containers.check_pcm`."""
        check_pcm(pcm)
        self._pieces.append(np.clip(pcm, -1, 1, dtype=np.float32, casting="same_kind"))
        self._num_pending += pcm.shape[1]
        size = _BLOCK_FRAMES * self._frame
        if self._num_pending < size:
            return
        pending = np.concatenate(self._pieces, axis=1)
        end = self._num_pending - self._num_pending % size
        for start in range(0, end, size):
            self._look(pending[:, start : start + size])
        self._pieces = [pending[:, end:].copy()]
        self._num_pending -= end

    def health(self) -> SoundHealth:
        """The health of the whole clip, once all of it was added. Raises: ValueError if nothing was."""
        if self._num_pending:
            pending = np.concatenate(self._pieces, axis=1)
            end = self._num_pending - self._num_pending % self._frame
            if end:
                self._look(pending[:, :end])
            if end < self._num_pending:
                rest = pending[:, end:]  # too short for more
                self._count(rest, int(_is_silent(rest[:, None])[0]), 1)
            self._pieces, self._num_pending = [], 0
        if self._num_samples == 0:
            raise ValueError("a clip must have at least one sample")
        return SoundHealth(
            silent_share=self._num_silent / self._num_frames,
            clipped_share=self._num_clipped / (self._num_channels * self._num_samples),
            flatness=self._flatness / self._num_sounding if self._num_sounding else None,
            harmonicity=self._harmonicity / self._num_sounding if self._num_sounding else None,
            collapsed=self._has_collapsed(),
        )

    def _look(self, pcm: np.ndarray) -> None:
        """pcm: [C, n], whole frames."""
        frames = pcm.reshape(len(pcm), -1, self._frame)  # [C, F, samples]
        silent = _is_silent(frames)
        before = frames[:, :1] if self._last_frame is None else self._last_frame[:, None]
        same = _is_same(frames, np.concatenate([before, frames[:, :-1]], axis=1))
        if self._last_frame is None:
            same[0] = False
        self._alive.extend(~(silent | same))
        self._measure(frames[:, ~silent])
        self._count(pcm, int(silent.sum()), frames.shape[1])
        self._last_frame = frames[:, -1].copy()

    def _count(self, pcm: np.ndarray, num_silent: int, num_frames: int) -> None:
        full = np.abs(pcm) >= FULL_SCALE
        before = np.zeros((len(full), MIN_RUN), bool) if self._last_full is None else self._last_full
        full = np.concatenate([before, full], axis=1)
        # For each sample, and the one before the first: whether it ends so many in a row.
        runs = full[:, :-2] & full[:, 1:-1] & full[:, 2:]
        begins = runs[:, 1:] & ~runs[:, :-1]
        self._num_clipped += int(runs[:, 1:].sum()) + (MIN_RUN - 1) * int(begins.sum())
        self._last_full = full[:, -MIN_RUN:].copy()
        self._num_silent += num_silent
        self._num_frames += num_frames
        self._num_samples += pcm.shape[1]
        self._num_channels = len(pcm)

    def _measure(self, frames: np.ndarray) -> None:
        """frames: [C, F, samples], those that sound. Channels count by their power: none takes another away."""
        if frames.shape[1] == 0:
            return
        power = _power(frames * self._window)  # [C, F, bins], two for each bin of the frame's own spectrum
        own = np.maximum(power[..., 2:-1:2], _SMALLEST)
        flatness = np.exp(np.log(own).mean(axis=2)).sum(axis=0) / own.mean(axis=2).sum(axis=0)
        correlation = self._autocorrelation(power.sum(axis=0)) / self._own
        harmonicity = np.clip(correlation[:, self._lags].max(axis=1) / correlation[:, 0], 0, 1)
        self._flatness += float(flatness.sum())
        self._harmonicity += float(harmonicity.sum())
        self._num_sounding += frames.shape[1]

    def _autocorrelation(self, power: np.ndarray) -> np.ndarray:
        """power: [..., bins]. Of lags 0 to the longest that is looked at."""
        return np.asarray(np.fft.irfft(power)[..., : self._lags.stop])

    def _has_collapsed(self) -> bool:
        if self._num_silent == self._num_frames:
            return True
        alive = np.flatnonzero(self._alive[:-_END_FRAMES])
        dead = self._num_samples - (int(alive[-1]) + 1 if len(alive) else 0) * self._frame
        return dead >= max(MIN_DEAD_S * self._sample_rate, DEAD_PART * self._num_samples)


def _power(windowed: np.ndarray) -> np.ndarray:
    """The power spectrum of twice the length, so that no lag of the autocorrelation meets one from the other end."""
    spectrum = np.fft.rfft(windowed, 2 * windowed.shape[-1])
    return np.asarray(spectrum.real**2 + spectrum.imag**2)


def _is_silent(frames: np.ndarray) -> np.ndarray:
    """frames: [C, F, samples]. For each frame, of all its channels."""
    return np.asarray(np.square(frames).mean(axis=(0, 2)) < SILENCE**2)


def _is_same(frames: np.ndarray, others: np.ndarray) -> np.ndarray:
    """frames, others: [C, F, samples]. For each frame."""
    return np.asarray(np.abs(frames - others).max(axis=(0, 2)) <= _SAME)
