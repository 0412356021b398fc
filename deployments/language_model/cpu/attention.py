"""Attention of this thread's heads over the positions that exist. Keys and values are float16, all else float32."""

from __future__ import annotations

import numpy as np
from numba import njit

from deployments.language_model.cpu.emitter import LANES, fma, largest_of, sum_of
from deployments.language_model.cpu.kernels import (
    HALF_BYTES,
    HEAD_WIDTH,
    POSITIONS,
    attention_scores,
    weighted_values,
    write_key,
    write_value,
)
from deployments.language_model.cpu.layout import HEAD_BYTES, KEY_BLOCK_BYTES

_LOG2_E = np.float32(1.4426950408889634)
_SCORE_SCALE = np.float32(HEAD_WIDTH**-0.5)
_LOWEST = np.float32(-np.inf)


@njit(nogil=True, cache=True, error_model="numpy")
def softmax_weights(scores, exponents, powers, length):
    """scores [length], in place: 2 ** ((score - largest) · scale · log2 e), not yet divided; returns their sum.

    The rest of the last vector is overwritten.
    """
    vectors = (length + LANES - 1) // LANES
    scores[length : vectors * LANES] = _LOWEST
    largest = largest_of(scores.ctypes.data, vectors)
    for i in range(length):
        x = max((scores[i] - largest) * (_SCORE_SCALE * _LOG2_E), np.float32(-126))
        whole = np.floor(x + np.float32(0.5))
        r = x - whole
        p = np.float32(1.54035303934e-04)
        p = fma(p, r, np.float32(1.33335581464e-03))
        p = fma(p, r, np.float32(9.61812910763e-03))
        p = fma(p, r, np.float32(5.55041086648e-02))
        p = fma(p, r, np.float32(2.40226506959e-01))
        p = fma(p, r, np.float32(6.93147180560e-01))
        scores[i] = fma(p, r, np.float32(1))
        exponents[i] = (np.int32(whole) + np.int32(127)) << np.int32(23)
    for i in range(length):
        scores[i] *= powers[i]
    scores[length : vectors * LANES] = 0
    return sum_of(scores.ctypes.data, vectors)


@njit(nogil=True, cache=True, error_model="numpy")
def attend_one_head(query, keys, values, length, scores, exponents, powers, out, next_keys, next_values):
    """One head of one row, by addresses: out float32 [64]. Meanwhile the keys and values of the next are prefetched."""
    blocks = (length + POSITIONS - 1) // POSITIONS
    attention_scores(query, keys, blocks, scores.ctypes.data, next_keys)
    total = softmax_weights(scores, exponents, powers, length)
    weighted_values(scores.ctypes.data, values, length, np.float32(1) / total, out, next_values)


@njit(nogil=True, cache=True, error_model="numpy")
def store_keys_and_values(thread, num_threads, layer, rows, cache, scratch, num_rows, num_heads):
    """Writes the keys and values of this thread's heads of all rows.

    All of them before any is read: a read just after its write would wait for it.
    """
    width_bytes = num_heads * HEAD_BYTES
    wide, wide_stride = scratch.wide.ctypes.data, scratch.wide.strides[0]
    for row in range(num_rows):
        row_offset = layer * cache.layer_bytes + (rows.slots[row] * 2 + rows.branches[row]) * cache.row_bytes
        position = rows.positions[row]
        key_at = cache.keys + row_offset + position // POSITIONS * KEY_BLOCK_BYTES + position % POSITIONS * HALF_BYTES
        value_at = cache.values + row_offset + position * HEAD_WIDTH * HALF_BYTES
        for head in range(num_heads * thread // num_threads, num_heads * (thread + 1) // num_threads):
            query = wide + row * wide_stride + head * HEAD_BYTES
            write_key(query + width_bytes, key_at + head * cache.head_bytes)
            write_value(query + 2 * width_bytes, value_at + head * cache.head_bytes)


@njit(nogil=True, cache=True, error_model="numpy")
def self_attention(thread, num_threads, layer, rows, cache, scratch, num_rows, num_heads):
    """This thread's heads of all rows, once `store_keys_and_values` has written theirs."""
    wide, wide_stride = scratch.wide.ctypes.data, scratch.wide.strides[0]
    attended, attended_stride = scratch.attended.ctypes.data, scratch.attended.strides[0]
    scores, exponents, powers = scratch.scores[thread], scratch.exponents[thread], scratch.powers[thread]
    first, end = num_heads * thread // num_threads, num_heads * (thread + 1) // num_threads
    for row in range(num_rows):
        row_offset = layer * cache.layer_bytes + (rows.slots[row] * 2 + rows.branches[row]) * cache.row_bytes
        following = min(row + 1, num_rows - 1)
        next_row = rows.slots[following] * 2 + rows.branches[following]
        next_row_offset = layer * cache.layer_bytes + next_row * cache.row_bytes
        for head in range(first, end):
            query = wide + row * wide_stride + head * HEAD_BYTES
            at = row_offset + head * cache.head_bytes
            next_at = at + cache.head_bytes if head + 1 < end else next_row_offset + first * cache.head_bytes
            attend_one_head(
                query,
                cache.keys + at,
                cache.values + at,
                rows.positions[row] + 1,
                scores,
                exponents,
                powers,
                attended + row * attended_stride + head * HEAD_BYTES,
                cache.keys + next_at,
                cache.values + next_at,
            )


@njit(nogil=True, cache=True, error_model="numpy")
def cross_attention(thread, num_threads, layer, rows, cache, scratch, num_rows, num_heads):
    """The same over the text; rows without text get zeros, which is what all-zero values would give them."""
    wide, wide_stride = scratch.wide.ctypes.data, scratch.wide.strides[0]
    attended, attended_stride = scratch.attended.ctypes.data, scratch.attended.strides[0]
    scores, exponents, powers = scratch.scores[thread], scratch.exponents[thread], scratch.powers[thread]
    first, end = num_heads * thread // num_threads, num_heads * (thread + 1) // num_threads
    for row in range(num_rows):
        if rows.branches[row]:
            scratch.attended[row, first * HEAD_WIDTH : end * HEAD_WIDTH] = 0
            continue
        slot = rows.slots[row]
        tokens = cache.text_tokens[slot]
        head_bytes = (tokens + POSITIONS - 1) // POSITIONS * KEY_BLOCK_BYTES
        text = cache.text[slot] + layer * 2 * num_heads * head_bytes
        for head in range(first, end):
            keys = text + head * head_bytes
            values = keys + num_heads * head_bytes
            attend_one_head(
                wide + row * wide_stride + head * HEAD_BYTES,
                keys,
                values,
                tokens,
                scores,
                exponents,
                powers,
                attended + row * attended_stride + head * HEAD_BYTES,
                keys + head_bytes,
                values + head_bytes,
            )
