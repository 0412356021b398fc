"""How the data of a step lies in memory: weights, keys and values, scratch, rows. Plain addresses and arrays.

Weights are bytes, in the order the kernels read them. Each output channel has one scale, its largest weight over 127,
so that a weight is scale · integer in [-127, 127]. It is stored 128 higher, as the processor's product of unsigned by
signed bytes wants it.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deployments.language_model.config import DecoderConfig
from deployments.language_model.cpu.emitter import QUAD
from deployments.language_model.cpu.kernels import BLOCK_OUTPUTS, GROUP, HALF_BYTES, HEAD_WIDTH, POSITIONS

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


class CacheLayout(NamedTuple):
    """Addresses and strides in bytes of keys [layers, slots, 2, H, positions / 16, 64, 16] and values [layers, slots,
    2, H, positions, 64], both float16.

    Attributes:
        text: address of a slot's text [layers, H, keys then values]; 0 for none.
        text_tokens: S of it.
    """

    keys: int
    values: int
    layer_bytes: int
    row_bytes: int
    head_bytes: int
    text: np.ndarray
    text_tokens: np.ndarray


class Scratch(NamedTuple):
    """Memory that a step overwrites. For M rows and I the widest inner width."""

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
    barrier: np.ndarray  # int64 [1]: see `team.wait_at_barrier`


class RowArrays(NamedTuple):
    """int64 [M, K], [M], [M], [M]."""

    tokens: np.ndarray
    slots: np.ndarray
    branches: np.ndarray
    positions: np.ndarray


class Draws(NamedTuple):
    """How the columns of R requests are drawn, and memory for it. K codebooks, V tokens."""

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


HUGE_PAGE_BYTES = 2**21


@dataclass(frozen=True)
class PackedMatrix:
    """A matrix of 8-bit weights in the order the kernels read it.

    Attributes:
        weights: uint8 [O / 64, I / 4, 64, 4], zeros (as 128) where O or I was filled up.
        scales: float32 [O].
    """

    weights: np.ndarray
    scales: np.ndarray

    @property
    def num_outputs(self) -> int:
        return int(self.weights.shape[0]) * BLOCK_OUTPUTS

    @property
    def size_bytes(self) -> int:
        return int(self.weights.nbytes)


def quantised(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """float [O, I] → int8 [O, I] and the outputs' scales, float32 [O]; an output of zeros has the scale 1."""
    largest = matrix.float().abs().amax(dim=1)
    scales = torch.where(largest > 0, largest / 127, 1.0)
    return torch.round(matrix.float() / scales[:, None]).to(torch.int8), scales


def pack(matrix: Tensor) -> PackedMatrix:
    """float [O, I], filled up to multiples of 64 with zeros."""
    weights, scales = quantised(matrix)
    outputs, inputs = (
        -(-size // unit) * unit for size, unit in zip(weights.shape, (BLOCK_OUTPUTS, GROUP), strict=True)
    )
    filled = np.full((outputs, inputs), 128, dtype=np.uint8)
    filled[: weights.shape[0], : weights.shape[1]] = (weights.to(torch.int16) + 128).numpy()
    blocks = filled.reshape(outputs // BLOCK_OUTPUTS, BLOCK_OUTPUTS, inputs // QUAD, QUAD).transpose(0, 2, 1, 3)
    packed = aligned_empty(blocks.shape, np.uint8)
    packed[:] = blocks
    out_scales = np.ones(outputs, np.float32)
    out_scales[: len(scales)] = scales.numpy()
    return PackedMatrix(packed, out_scales)


def aligned_empty(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """An array that begins at a multiple of 64 bytes, in huge pages where it is large: fewer TLB misses.

    Memory of it that is not touched costs nothing. It reads as zeros.
    """
    size_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    # Private: the shared memory that mmap gives by default has no huge pages.
    buffer = mmap.mmap(-1, size_bytes + HUGE_PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size_bytes >= HUGE_PAGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
        buffer.madvise(mmap.MADV_HUGEPAGE)
    whole = np.frombuffer(buffer, np.uint8)
    start = -whole.ctypes.data % HUGE_PAGE_BYTES
    return whole[start : start + size_bytes].view(dtype).reshape(shape)


def round_up(size: int, unit: int) -> int:
    """The next multiple of unit."""
    return -(-size // unit) * unit


class Int8Cache:
    """Keys and values of every slot, and the text each was given, float16; see `CacheLayout` for their order."""

    def __init__(self, config: DecoderConfig, num_slots: int, max_positions: int) -> None:
        positions = round_up(max_positions, POSITIONS)
        shape = (config.num_layers, num_slots, 2, config.num_heads, positions, HEAD_WIDTH)
        self._keys, self._values = (aligned_empty(shape, np.float16) for _ in range(2))
        self._texts: list[np.ndarray | None] = [None] * num_slots
        layer_bytes, _, row_bytes, head_bytes, _, _ = self._keys.strides
        self.layout = CacheLayout(
            keys=self._keys.ctypes.data,
            values=self._values.ctypes.data,
            layer_bytes=layer_bytes,
            row_bytes=row_bytes,
            head_bytes=head_bytes,
            text=np.zeros(num_slots, np.int64),
            text_tokens=np.zeros(num_slots, np.int64),
        )

    @property
    def num_slots(self) -> int:
        return len(self._texts)

    def holds_text(self, slot: int) -> bool:
        return self._texts[slot] is not None

    def set_text(self, slot: int, text: np.ndarray, num_tokens: int) -> None:
        """Gives a slot its text's keys and values.

        Args:
            text: as `Int8Decoder.read_text` packs it.
        """
        self._texts[slot] = text
        self.layout.text[slot], self.layout.text_tokens[slot] = text.ctypes.data, num_tokens

    def clear_text(self, slot: int) -> None:
        self._texts[slot] = None
        self.layout.text[slot] = self.layout.text_tokens[slot] = 0
