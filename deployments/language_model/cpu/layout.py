"""How what a step works on lies in memory: weights, keys and values, scratch, rows. Plain addresses and arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from deployments.language_model.cpu.kernels import HALF_BYTES, HEAD_WIDTH, POSITIONS

QKV, SELF_OUT, CROSS_Q, CROSS_OUT, FFN_IN, FFN_OUT = range(6)
SELF_NORM, CROSS_NORM, FFN_NORM, NUM_NORMS = range(4)
KEY_BLOCK_BYTES = HEAD_WIDTH * POSITIONS * HALF_BYTES
HEAD_BYTES = HEAD_WIDTH * 4  # of a head in a float32 row


class Matrices(NamedTuple):
    """Addresses of the packed weights and their scales: int64 [layers, 6], in the order QKV … FFN_OUT."""

    weights: np.ndarray
    scales: np.ndarray
    norms: np.ndarray  # float32 [layers, 3, 2 (weight, bias), D]
    final_norm: np.ndarray  # float32 [2, D]
    embedding: np.ndarray  # float32 [K · (V + 1), D]
    positions: np.ndarray  # float32 [positions, D]
    ffn_width: int
    gelu: bool


class Cache(NamedTuple):
    """Addresses and strides in bytes of keys [layers, slots, 2, H, positions / 16, 64, 16] and values
    [layers, slots, 2, H, positions, 64], both float16.

    text: address of a slot's text [layers, H, keys then values]; 0 for none. text_tokens: S of it.
    """

    keys: int
    values: int
    layer_bytes: int
    row_bytes: int
    head_bytes: int
    text: np.ndarray
    text_tokens: np.ndarray


class Scratch(NamedTuple):
    """What a step writes on. For M rows and I the widest inner width."""

    residual: np.ndarray  # float32 [M, D]
    wide: np.ndarray  # float32 [M, max(3 D, F)]
    attended: np.ndarray  # float32 [M, D]
    normed: np.ndarray  # float32 [M, D]
    bytes: np.ndarray  # int8 [M, I]
    scales: np.ndarray  # float32 [M, I / 64]
    starts: np.ndarray  # int32 [M, I / 64]
    scores: np.ndarray  # float32 [threads, positions]
    exponents: np.ndarray  # int32 [threads, positions]; and the same memory read as float32:
    powers: np.ndarray
    barrier: np.ndarray  # int64 [1]: how many have ever arrived


class Rows(NamedTuple):
    """int64 [M, K], [M], [M], [M]."""

    tokens: np.ndarray
    slots: np.ndarray
    branches: np.ndarray
    positions: np.ndarray


class Draws(NamedTuple):
    """How R tokens' columns are drawn, and what is written on meanwhile. K codebooks, V tokens."""

    guidance: np.ndarray  # float32 [R]
    temperature: np.ndarray  # float32 [R]
    greedy: np.ndarray  # bool [R]
    top_k: np.ndarray  # int64 [R]
    seeds: np.ndarray  # uint64 [R]
    frames: np.ndarray  # int64 [R, K]
    nucleus: np.ndarray  # bool [R, K, V], what top_p keeps; of no rows where it is off
    guided: np.ndarray  # float32 [R, K, V], to be written
    scores: np.ndarray  # float32 [threads, V]; and the same memory read as int32:
    score_bits: np.ndarray
    keys: np.ndarray  # int32 [threads, V]
    tokens: np.ndarray  # int64 [R, K], to be written
