"""Rows of float32 to bytes, and their products with packed weights, cut among the threads of a team."""

from __future__ import annotations

import numpy as np
from numba import njit

from deployments.language_model.cpu.emitter import LANES, largest_magnitude
from deployments.language_model.cpu.kernels import (
    BLOCK_OUTPUTS,
    GROUP,
    LINE_BYTES,
    PREFETCH_BYTES,
    prefetch_lines,
    product_1_1,
    product_1_2,
    product_1_4,
    product_2_1,
    product_2_2,
    product_2_4,
    product_4_1,
    product_4_2,
    product_4_4,
)


@njit(nogil=True, cache=True, error_model="numpy")
def quantise_row(x, out, scales, starts):
    """One row [I] → bytes [I], one scale for each group of 64, and where its integer sum starts."""
    for g in range(x.shape[0] // GROUP):
        first = g * GROUP
        largest = largest_magnitude(x.ctypes.data + 4 * first, GROUP // LANES)
        scale = largest / np.float32(127)
        factor = np.float32(127) / largest if largest > 0 else np.float32(0)
        total = np.int32(0)
        for i in range(first, first + GROUP):
            # Half away from zero: an addition and a truncation, which vectors have; the sum is of the very bytes.
            y = x[i] * factor
            byte = np.int32(y + (np.float32(0.5) if y > 0 else np.float32(-0.5)))
            out[i] = np.int8(byte)
            total += byte
        scales[g] = scale
        starts[g] = np.int32(-128) * total


@njit(nogil=True, cache=True, error_model="numpy")
def quantise_rows(thread, num_threads, num_rows, source, width, scratch):
    for row in range(thread, num_rows, num_threads):
        quantise_row(source[row, :width], scratch.bytes[row], scratch.scales[row], scratch.starts[row])


@njit(nogil=True, cache=True, error_model="numpy")
def product_in_one_pass(left, here, own):
    """The only pass over a block of weights: prefetches a little ahead. Returns the rows done: four, two or one."""
    ahead = here + PREFETCH_BYTES
    if left >= 4:
        product_4_4(here, *own, ahead)
        return 4
    if left >= 2:
        product_2_4(here, *own, ahead)
        return 2
    product_1_4(here, *own, ahead)
    return 1


@njit(nogil=True, cache=True, error_model="numpy")
def product_in_few_passes(left, here, own, ahead):
    """One of two or three passes over a block: each prefetches half of the next block."""
    if left >= 4:
        product_4_2(here, *own, ahead)
        return 4
    if left >= 2:
        product_2_2(here, *own, ahead)
        return 2
    product_1_2(here, *own, ahead)
    return 1


@njit(nogil=True, cache=True, error_model="numpy")
def product_in_many_passes(left, here, own, ahead):
    """One of many passes over a block: each prefetches a quarter of the next block."""
    if left >= 4:
        product_4_1(here, *own, ahead)
        return 4
    if left >= 2:
        product_2_1(here, *own, ahead)
        return 2
    product_1_1(here, *own, ahead)
    return 1


@njit(nogil=True, cache=True, error_model="numpy")
def multiply(thread, num_threads, num_rows, weights, out_scales, num_inputs, num_outputs, scratch, out, add):
    """This thread's blocks of out [M, O] (+)= bytes · weights.

    A block of weights is read once from memory and then from the cache, by four rows at a time; while the rows of one
    block are computed the next one is prefetched, in equal shares.
    """
    blocks = num_outputs // BLOCK_OUTPUTS
    groups = num_inputs // GROUP
    group_stride = scratch.scales.strides[0]
    row_stride = scratch.bytes.strides[0]
    out_stride = out.strides[0]
    block_bytes = num_inputs * BLOCK_OUTPUTS
    passes = num_rows // 4 + num_rows % 4 // 2 + num_rows % 2
    for block in range(blocks * thread // num_threads, blocks * (thread + 1) // num_threads):
        here = weights + block * block_bytes
        own_scales = out_scales + block * BLOCK_OUTPUTS * 4
        r = 0
        done = 0
        while r < num_rows:
            x = scratch.bytes.ctypes.data + r * row_stride
            scales = scratch.scales.ctypes.data + r * group_stride
            starts = scratch.starts.ctypes.data + r * group_stride
            y = out.ctypes.data + r * out_stride + block * BLOCK_OUTPUTS * 4
            left = num_rows - r
            own = x, row_stride, scales, starts, group_stride, groups, own_scales, y, out_stride, add
            if passes == 1:
                r += product_in_one_pass(left, here, own)
            elif passes < 4:
                ahead = here + block_bytes + min(done, 1) * (block_bytes // 2)
                r += product_in_few_passes(left, here, own, ahead)
            else:
                ahead = here + block_bytes + min(done, 3) * (block_bytes // 4)
                r += product_in_many_passes(left, here, own, ahead)
            done += 1


@njit(nogil=True, cache=True, error_model="numpy")
def prefetch_first_block(thread, num_threads, weights, num_inputs, num_outputs):
    """Prefetches the weights that this thread multiplies next, so that memory is at work while the team waits."""
    first = num_outputs // BLOCK_OUTPUTS * thread // num_threads
    prefetch_lines(weights + first * num_inputs * BLOCK_OUTPUTS, PREFETCH_BYTES // LINE_BYTES)
