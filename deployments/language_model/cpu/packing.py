"""Matrices as bytes, in the order the kernels read them.

Weight-only figures: each output channel has one scale, its largest weight over 127, so that a weight is
scale · integer in [-127, 127]. Stored 128 higher, as the processor's product of unsigned by signed bytes wants it.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deployments.language_model.cpu.emitter import QUAD
from deployments.language_model.cpu.kernels import BLOCK_OUTPUTS, GROUP

HUGE_PAGE_BYTES = 2**21


@dataclass(frozen=True)
class PackedMatrix:
    """weights: uint8 [O / 64, I / 4, 64, 4], zeros (as 128) where O or I was filled up; scales: float32 [O]."""

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
    """An array that begins at a multiple of 64 bytes, in huge pages where it is large: fewer misses of addresses.

    Untouched memory of it costs nothing. It reads as zeros.
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
