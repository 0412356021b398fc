"""One decoding step, compiled: every thread of a team runs it, each on its part, meeting at barriers.

Work is cut so that each number is made by one thread from whole rows, in an order that does not depend on how many
threads there are, or how many rows. float32 throughout, but for what memory reads: weights and activations of
products are bytes, keys and values float16.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, types

from deployments.language_model.cpu.kernels import (
    BLOCK_OUTPUTS,
    GROUP,
    HEAD_WIDTH,
    POSITIONS,
    arrive,
    look,
    product_1,
    product_2,
    product_4,
    product_8,
    scores_of_positions,
    weighted_values,
    write_halves,
)

QKV, SELF_OUT, CROSS_Q, CROSS_OUT, FFN_IN, FFN_OUT = range(6)
SELF_NORM, CROSS_NORM, FFN_NORM, NUM_NORMS = range(4)

_LOG2_E = np.float32(1.4426950408889634)
_SCORE_SCALE = np.float32(HEAD_WIDTH**-0.5)
_SPINS_BEFORE_YIELD = 2000
_HALF_BYTES = 2
_KEY_BLOCK_BYTES = HEAD_WIDTH * POSITIONS * _HALF_BYTES
_EPSILON = np.float32(1e-5)

# Sums may be regrouped into vectors: always the same way, since it is decided when this is compiled.
_FAST = {"reassoc", "contract", "nsz", "arcp"}

_sched_yield = types.ExternalFunction("sched_yield", types.int32())


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


@njit(nogil=True, cache=True, error_model="numpy")
def meet(barrier, num_met, num_threads):
    """Wait until every thread of the team has come here, after `num_met` earlier meetings; gives how many it are now.

    The counter only grows: a thread that is late in leaving one meeting can't miss it over the next.
    """
    counter = barrier.ctypes.data
    arrive(counter)
    goal = (num_met + 1) * num_threads
    spins = 0
    while look(counter) < goal:
        spins += 1
        if spins > _SPINS_BEFORE_YIELD:
            _sched_yield()
    return num_met + 1


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FAST)
def normalise(x, norm, out):
    """LayerNorm of one row: x, out [D]; norm [2, D]."""
    width = x.shape[0]
    total = np.float32(0)
    for i in range(width):
        total += x[i]
    mean = total / np.float32(width)
    square = np.float32(0)
    for i in range(width):
        square += (x[i] - mean) * (x[i] - mean)
    factor = np.float32(1) / np.sqrt(square / np.float32(width) + _EPSILON)
    for i in range(width):
        out[i] = (x[i] - mean) * factor * norm[0, i] + norm[1, i]


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def gelu(x):
    """In place, [F]: x · Φ(x), with the error function as a quotient of polynomials (Eigen's, within 3e-7)."""
    for i in range(x.shape[0]):
        z = x[i] * np.float32(0.7071067811865476)
        z = min(max(z, np.float32(-4)), np.float32(4))
        z2 = z * z
        p = np.float32(-2.72614225801306e-10)
        p = p * z2 + np.float32(2.77068142495902e-08)
        p = p * z2 + np.float32(-2.10102402082508e-06)
        p = p * z2 + np.float32(-5.69250639462346e-05)
        p = p * z2 + np.float32(-7.34990630326855e-04)
        p = p * z2 + np.float32(-2.95459980854025e-03)
        p = p * z2 + np.float32(-1.60960333262415e-02)
        q = np.float32(-1.45660718464996e-05)
        q = q * z2 + np.float32(-2.13374055278905e-04)
        q = q * z2 + np.float32(-1.68282697438203e-03)
        q = q * z2 + np.float32(-7.37332916720468e-03)
        q = q * z2 + np.float32(-1.42647390514189e-02)
        x[i] = np.float32(0.5) * x[i] * (np.float32(1) + z * p / q)


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def rectify(x):
    """In place, [F]: relu."""
    for i in range(x.shape[0]):
        x[i] = max(x[i], np.float32(0))


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def to_bytes(x, out, scales, starts):
    """One row [I] → bytes [I], one scale for each group of 64, and where its integer sum starts."""
    for g in range(x.shape[0] // GROUP):
        first = g * GROUP
        largest = np.float32(0)
        for i in range(first, first + GROUP):
            largest = max(largest, abs(x[i]))
        scale = largest / np.float32(127)
        factor = np.float32(127) / largest if largest > 0 else np.float32(0)
        total = np.int32(0)
        for i in range(first, first + GROUP):
            # Half away from zero: an addition and a cut, which vectors have; the sum is of the very bytes.
            y = x[i] * factor
            byte = np.int32(y + (np.float32(0.5) if y > 0 else np.float32(-0.5)))
            out[i] = np.int8(byte)
            total += byte
        scales[g] = scale
        starts[g] = np.int32(-128) * total


@njit(nogil=True, cache=True, error_model="numpy")
def multiply(thread, num_threads, num_rows, weights, out_scales, num_inputs, num_outputs, scratch, out, add):
    """This thread's blocks of out [M, O] (+)= bytes · weights."""
    blocks = num_outputs // BLOCK_OUTPUTS
    groups = num_inputs // GROUP
    group_stride = scratch.scales.strides[0]
    row_stride = scratch.bytes.strides[0]
    out_stride = out.strides[0]
    block_bytes = num_inputs * BLOCK_OUTPUTS
    for block in range(blocks * thread // num_threads, blocks * (thread + 1) // num_threads):
        here = weights + block * block_bytes
        own_scales = out_scales + block * BLOCK_OUTPUTS * 4
        r = 0
        while r < num_rows:
            x = scratch.bytes.ctypes.data + r * row_stride
            scales = scratch.scales.ctypes.data + r * group_stride
            starts = scratch.starts.ctypes.data + r * group_stride
            y = out.ctypes.data + r * out_stride + block * BLOCK_OUTPUTS * 4
            left = num_rows - r
            if left >= 8:
                product_8(here, x, row_stride, scales, starts, group_stride, groups, own_scales, y, out_stride, add)
                r += 8
            elif left >= 4:
                product_4(here, x, row_stride, scales, starts, group_stride, groups, own_scales, y, out_stride, add)
                r += 4
            elif left >= 2:
                product_2(here, x, row_stride, scales, starts, group_stride, groups, own_scales, y, out_stride, add)
                r += 2
            else:
                product_1(here, x, row_stride, scales, starts, group_stride, groups, own_scales, y, out_stride, add)
                r += 1


@njit(nogil=True, cache=True, error_model="numpy", fastmath=_FAST)
def softmax_weights(scores, exponents, powers, length):
    """scores [length], in place: 2 ** ((score - largest) · scale · log2 e), not yet divided; gives their sum."""
    largest = scores[0]
    for i in range(length):
        largest = max(largest, scores[i])
    for i in range(length):
        x = max((scores[i] - largest) * (_SCORE_SCALE * _LOG2_E), np.float32(-126))
        whole = np.floor(x + np.float32(0.5))
        r = x - whole
        p = np.float32(1.54035303934e-04)
        p = p * r + np.float32(1.33335581464e-03)
        p = p * r + np.float32(9.61812910763e-03)
        p = p * r + np.float32(5.55041086648e-02)
        p = p * r + np.float32(2.40226506959e-01)
        p = p * r + np.float32(6.93147180560e-01)
        scores[i] = p * r + np.float32(1)
        exponents[i] = (np.int32(whole) + np.int32(127)) << np.int32(23)
    total = np.float32(0)
    for i in range(length):
        scores[i] *= powers[i]
        total += scores[i]
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def attend(thread, query, keys, values, length, scratch, out):
    """One head of one row, by addresses: out float32 [64]."""
    scores = scratch.scores[thread]
    scores_of_positions(query, keys, (length + POSITIONS - 1) // POSITIONS, scores.ctypes.data)
    total = softmax_weights(scores, scratch.exponents[thread], scratch.powers[thread], length)
    weighted_values(scores.ctypes.data, values, length, np.float32(1) / total, out)


@njit(nogil=True, cache=True, error_model="numpy")
def attend_to_itself(thread, num_threads, layer, rows, cache, scratch, num_rows, num_heads):
    """This thread's heads of all rows: writes their keys and values, then attends, row by row in order."""
    width = num_heads * HEAD_WIDTH
    for row in range(num_rows):
        place = layer * cache.layer_bytes + (rows.slots[row] * 2 + rows.branches[row]) * cache.row_bytes
        position = rows.positions[row]
        for head in range(num_heads * thread // num_threads, num_heads * (thread + 1) // num_threads):
            column = head * HEAD_WIDTH
            query = scratch.wide[row, column:].ctypes.data
            keys = cache.keys + place + head * cache.head_bytes
            values = cache.values + place + head * cache.head_bytes
            key_at = keys + position // POSITIONS * _KEY_BLOCK_BYTES + position % POSITIONS * _HALF_BYTES
            write_halves(scratch.wide[row, width + column :].ctypes.data, key_at, POSITIONS * _HALF_BYTES)
            value_at = values + position * HEAD_WIDTH * _HALF_BYTES
            write_halves(scratch.wide[row, 2 * width + column :].ctypes.data, value_at, _HALF_BYTES)
            attend(thread, query, keys, values, position + 1, scratch, scratch.attended[row, column:].ctypes.data)


@njit(nogil=True, cache=True, error_model="numpy")
def attend_to_text(thread, num_threads, layer, rows, cache, scratch, num_rows, num_heads):
    """The same over the words; rows without text get zeros, which is what all-zero values would give them."""
    for row in range(num_rows):
        slot = rows.slots[row]
        tokens = cache.text_tokens[slot]
        blocks = (tokens + POSITIONS - 1) // POSITIONS
        head_bytes = blocks * _KEY_BLOCK_BYTES
        text = cache.text[slot] + layer * 2 * num_heads * head_bytes
        for head in range(num_heads * thread // num_threads, num_heads * (thread + 1) // num_threads):
            column = head * HEAD_WIDTH
            if rows.branches[row]:
                scratch.attended[row, column : column + HEAD_WIDTH] = 0
                continue
            query = scratch.wide[row, column:].ctypes.data
            keys = text + head * head_bytes
            values = keys + num_heads * head_bytes
            attend(thread, query, keys, values, tokens, scratch, scratch.attended[row, column:].ctypes.data)


@njit(nogil=True, cache=True, error_model="numpy")
def rows_to_bytes(thread, num_threads, num_rows, source, width, scratch):
    for row in range(thread, num_rows, num_threads):
        to_bytes(source[row, :width], scratch.bytes[row], scratch.scales[row], scratch.starts[row])


@njit(nogil=True, cache=True, error_model="numpy")
def normed_rows_to_bytes(thread, num_threads, num_rows, norm, scratch):
    for row in range(thread, num_rows, num_threads):
        normalise(scratch.residual[row], norm, scratch.normed[row])
        to_bytes(scratch.normed[row], scratch.bytes[row], scratch.scales[row], scratch.starts[row])


@njit(nogil=True, cache=True, error_model="numpy")
def embed(row, rows, matrices, residual):
    """Sum of the K tokens' embeddings, in their order, and the position's."""
    num_codebooks = rows.tokens.shape[1]
    table = matrices.embedding.shape[0] // num_codebooks
    residual[:] = matrices.embedding[rows.tokens[row, 0]]
    for k in range(1, num_codebooks):
        residual += matrices.embedding[k * table + rows.tokens[row, k]]
    residual += matrices.positions[rows.positions[row]]


@njit(nogil=True, cache=True, error_model="numpy")
def decode(thread, num_threads, met, rows, matrices, cache, scratch):
    """Rows through all layers; their hidden states after the final norm are in `scratch.normed`."""
    num_rows = rows.slots.shape[0]
    width = scratch.residual.shape[1]
    num_heads = width // HEAD_WIDTH
    ffn = matrices.ffn_width
    residual, wide, attended = scratch.residual, scratch.wide, scratch.attended
    for row in range(thread, num_rows, num_threads):
        embed(row, rows, matrices, residual[row])
    for layer in range(matrices.weights.shape[0]):
        w, s, norms = matrices.weights[layer], matrices.scales[layer], matrices.norms[layer]

        normed_rows_to_bytes(thread, num_threads, num_rows, norms[SELF_NORM], scratch)
        met = meet(scratch.barrier, met, num_threads)
        multiply(thread, num_threads, num_rows, w[QKV], s[QKV], width, 3 * width, scratch, wide, 0)
        met = meet(scratch.barrier, met, num_threads)
        attend_to_itself(thread, num_threads, layer, rows, cache, scratch, num_rows, num_heads)
        met = meet(scratch.barrier, met, num_threads)
        rows_to_bytes(thread, num_threads, num_rows, attended, width, scratch)
        met = meet(scratch.barrier, met, num_threads)
        multiply(thread, num_threads, num_rows, w[SELF_OUT], s[SELF_OUT], width, width, scratch, residual, 1)
        met = meet(scratch.barrier, met, num_threads)

        normed_rows_to_bytes(thread, num_threads, num_rows, norms[CROSS_NORM], scratch)
        met = meet(scratch.barrier, met, num_threads)
        multiply(thread, num_threads, num_rows, w[CROSS_Q], s[CROSS_Q], width, width, scratch, wide, 0)
        met = meet(scratch.barrier, met, num_threads)
        attend_to_text(thread, num_threads, layer, rows, cache, scratch, num_rows, num_heads)
        met = meet(scratch.barrier, met, num_threads)
        rows_to_bytes(thread, num_threads, num_rows, attended, width, scratch)
        met = meet(scratch.barrier, met, num_threads)
        multiply(thread, num_threads, num_rows, w[CROSS_OUT], s[CROSS_OUT], width, width, scratch, residual, 1)
        met = meet(scratch.barrier, met, num_threads)

        normed_rows_to_bytes(thread, num_threads, num_rows, norms[FFN_NORM], scratch)
        met = meet(scratch.barrier, met, num_threads)
        multiply(thread, num_threads, num_rows, w[FFN_IN], s[FFN_IN], width, ffn, scratch, wide, 0)
        met = meet(scratch.barrier, met, num_threads)
        for row in range(thread, num_rows, num_threads):
            if matrices.gelu:
                gelu(wide[row, :ffn])
            else:
                rectify(wide[row, :ffn])
        rows_to_bytes(thread, num_threads, num_rows, wide, ffn, scratch)
        met = meet(scratch.barrier, met, num_threads)
        multiply(thread, num_threads, num_rows, w[FFN_OUT], s[FFN_OUT], ffn, width, scratch, residual, 1)
        met = meet(scratch.barrier, met, num_threads)
    for row in range(thread, num_rows, num_threads):
        normalise(residual[row], matrices.final_norm, scratch.normed[row])
    meet(scratch.barrier, met, num_threads)


@njit(nogil=True, cache=True, error_model="numpy")
def project(thread, num_threads, met, source, weights, out_scales, scratch, out):
    """source [M, I] · one packed matrix → out [M, O]."""
    num_rows, width = source.shape
    rows_to_bytes(thread, num_threads, num_rows, source, width, scratch)
    met = meet(scratch.barrier, met, num_threads)
    multiply(thread, num_threads, num_rows, weights, out_scales, width, out.shape[1], scratch, out, 0)
    meet(scratch.barrier, met, num_threads)
