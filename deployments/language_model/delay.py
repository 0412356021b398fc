"""The delay pattern (MusicGen, Copet et al. 2023, arXiv:2306.05284, section 2.2).

Codebook k lags `delays[k]` steps: the column of tokens made at step s holds, for codebook k, frame s - delays[k].
Step s reads column s - 1 (all pads for s = 0). N frames take N + max(delays) steps, and frame t is whole once
column t + max(delays) is.
"""

from __future__ import annotations

from functools import cache

import numpy as np

UNKNOWN = -1


def delays_of(num_codebooks: int, channels: int) -> tuple[int, ...]:
    """Mono: 0, 1, 2, 3. Stereo, in the order 1L 1R 2L 2R …: 0, 0, 1, 1, 2, 2, 3, 3."""
    return tuple(k // channels for k in range(num_codebooks))


def num_steps(num_frames: int, delays: tuple[int, ...]) -> int:
    return num_frames + max(delays)


def delayed(codes: np.ndarray, delays: tuple[int, ...], steps: int, pad_token: int) -> np.ndarray:
    """Codes [K, N] → columns int64 [K, steps]: pads before a codebook's first frame, UNKNOWN after its last."""
    num_frames = codes.shape[1]
    columns = np.full((len(delays), steps), UNKNOWN, dtype=np.int64)
    for k, lag in enumerate(delays):
        columns[k, :lag] = pad_token
        columns[k, lag : lag + num_frames] = codes[k]
    return columns


def undelayed(columns: np.ndarray, delays: tuple[int, ...], first_frame: int, end_frame: int) -> np.ndarray:
    """Columns [K, steps] → codes int16 [K, end_frame - first_frame]."""
    codebooks, lags = _columns_of(delays)
    codes: np.ndarray = columns[codebooks, lags + np.arange(first_frame, end_frame)].astype(np.int16)
    return codes


@cache
def _columns_of(delays: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """[K, 1] each: the number of every codebook, and its lag."""
    return np.arange(len(delays))[:, None], np.array(delays)[:, None]
