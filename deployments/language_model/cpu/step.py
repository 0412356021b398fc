"""One decoding step, compiled: every thread of a team runs it, each on its part, waiting for the others at barriers.

Work is divided so that each number is computed by one thread from whole rows, in an order that does not depend on how
many threads or rows there are, nor on how all this was compiled (`emitter`). All is float32, except what is read from
memory most: weights and activations of products are bytes, keys and values float16.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from deployments.language_model.cpu.attention import cross_attention, self_attention, store_keys_and_values
from deployments.language_model.cpu.emitter import LANES, fma, sum_of, sum_of_squares
from deployments.language_model.cpu.kernels import HEAD_WIDTH
from deployments.language_model.cpu.layout import (
    CROSS_NORM,
    CROSS_OUT,
    CROSS_Q,
    FFN_IN,
    FFN_NORM,
    FFN_OUT,
    QKV,
    SELF_NORM,
    SELF_OUT,
)
from deployments.language_model.cpu.products import multiply, prefetch_first_block, quantise_row, quantise_rows
from deployments.language_model.cpu.sampling import draw
from deployments.language_model.cpu.team import wait_at_barrier

_EPSILON = np.float32(1e-5)


@njit(nogil=True, cache=True, error_model="numpy")
def layer_norm(x, norm, out):
    """LayerNorm of one row: x, out [D], whole vectors; norm [2, D]."""
    width = x.shape[0]
    at, vectors = x.ctypes.data, width // LANES
    mean = sum_of(at, vectors) / np.float32(width)
    variance = sum_of_squares(at, vectors, mean) / np.float32(width)
    factor = np.float32(1) / np.sqrt(variance + _EPSILON)
    for i in range(width):
        out[i] = fma((x[i] - mean) * factor, norm[0, i], norm[1, i])


@njit(nogil=True, cache=True, error_model="numpy")
def gelu(x):
    """In place, [F]: x · Φ(x), with the error function as a quotient of polynomials (Eigen's, within 3e-7)."""
    for i in range(x.shape[0]):
        z = x[i] * np.float32(0.7071067811865476)
        z = min(max(z, np.float32(-4)), np.float32(4))
        z2 = z * z
        p = np.float32(-2.72614225801306e-10)
        p = fma(p, z2, np.float32(2.77068142495902e-08))
        p = fma(p, z2, np.float32(-2.10102402082508e-06))
        p = fma(p, z2, np.float32(-5.69250639462346e-05))
        p = fma(p, z2, np.float32(-7.34990630326855e-04))
        p = fma(p, z2, np.float32(-2.95459980854025e-03))
        p = fma(p, z2, np.float32(-1.60960333262415e-02))
        q = np.float32(-1.45660718464996e-05)
        q = fma(q, z2, np.float32(-2.13374055278905e-04))
        q = fma(q, z2, np.float32(-1.68282697438203e-03))
        q = fma(q, z2, np.float32(-7.37332916720468e-03))
        q = fma(q, z2, np.float32(-1.42647390514189e-02))
        x[i] = np.float32(0.5) * x[i] * (np.float32(1) + z * p / q)


@njit(nogil=True, cache=True, error_model="numpy")
def relu(x):
    """In place, [F]: relu."""
    for i in range(x.shape[0]):
        x[i] = max(x[i], np.float32(0))


@njit(nogil=True, cache=True, error_model="numpy")
def normalise_and_quantise(thread, num_threads, num_rows, norm, scratch):
    for row in range(thread, num_rows, num_threads):
        layer_norm(scratch.residual[row], norm, scratch.normed[row])
        quantise_row(scratch.normed[row], scratch.bytes[row], scratch.scales[row], scratch.starts[row])


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
def decode(thread, num_threads, passed, rows, matrices, cache, scratch):
    """Rows through all layers; their hidden states after the final norm are in `scratch.normed`.

    passed, and what is returned: the barriers passed so far, see `wait_at_barrier`.
    """
    num_rows = rows.slots.shape[0]
    width = scratch.residual.shape[1]
    num_heads = width // HEAD_WIDTH
    ffn = matrices.ffn_width
    residual, wide, attended = scratch.residual, scratch.wide, scratch.attended
    for row in range(thread, num_rows, num_threads):
        embed(row, rows, matrices, residual[row])
    num_layers = matrices.weights.shape[0]
    for layer in range(num_layers):
        w, s, norms = matrices.weights[layer], matrices.scales[layer], matrices.norms[layer]

        normalise_and_quantise(thread, num_threads, num_rows, norms[SELF_NORM], scratch)
        passed = wait_at_barrier(scratch.barrier, passed, num_threads)
        multiply(thread, num_threads, num_rows, w[QKV], s[QKV], width, 3 * width, scratch, wide, 0)
        prefetch_first_block(thread, num_threads, w[SELF_OUT], width, width)
        passed = wait_at_barrier(scratch.barrier, passed, num_threads)
        store_keys_and_values(thread, num_threads, layer, rows, cache, scratch, num_rows, num_heads)
        self_attention(thread, num_threads, layer, rows, cache, scratch, num_rows, num_heads)
        passed = wait_at_barrier(scratch.barrier, passed, num_threads)
        quantise_rows(thread, num_threads, num_rows, attended, width, scratch)
        passed = wait_at_barrier(scratch.barrier, passed, num_threads)
        multiply(thread, num_threads, num_rows, w[SELF_OUT], s[SELF_OUT], width, width, scratch, residual, 1)
        prefetch_first_block(thread, num_threads, w[CROSS_Q], width, width)
        passed = wait_at_barrier(scratch.barrier, passed, num_threads)

        normalise_and_quantise(thread, num_threads, num_rows, norms[CROSS_NORM], scratch)
        passed = wait_at_barrier(scratch.barrier, passed, num_threads)
        multiply(thread, num_threads, num_rows, w[CROSS_Q], s[CROSS_Q], width, width, scratch, wide, 0)
        prefetch_first_block(thread, num_threads, w[CROSS_OUT], width, width)
        passed = wait_at_barrier(scratch.barrier, passed, num_threads)
        cross_attention(thread, num_threads, layer, rows, cache, scratch, num_rows, num_heads)
        passed = wait_at_barrier(scratch.barrier, passed, num_threads)
        quantise_rows(thread, num_threads, num_rows, attended, width, scratch)
        passed = wait_at_barrier(scratch.barrier, passed, num_threads)
        multiply(thread, num_threads, num_rows, w[CROSS_OUT], s[CROSS_OUT], width, width, scratch, residual, 1)
        prefetch_first_block(thread, num_threads, w[FFN_IN], width, ffn)
        passed = wait_at_barrier(scratch.barrier, passed, num_threads)

        normalise_and_quantise(thread, num_threads, num_rows, norms[FFN_NORM], scratch)
        passed = wait_at_barrier(scratch.barrier, passed, num_threads)
        multiply(thread, num_threads, num_rows, w[FFN_IN], s[FFN_IN], width, ffn, scratch, wide, 0)
        prefetch_first_block(thread, num_threads, w[FFN_OUT], ffn, width)
        passed = wait_at_barrier(scratch.barrier, passed, num_threads)
        for row in range(thread, num_rows, num_threads):
            if matrices.gelu:
                gelu(wide[row, :ffn])
            else:
                relu(wide[row, :ffn])
        quantise_rows(thread, num_threads, num_rows, wide, ffn, scratch)
        passed = wait_at_barrier(scratch.barrier, passed, num_threads)
        multiply(thread, num_threads, num_rows, w[FFN_OUT], s[FFN_OUT], ffn, width, scratch, residual, 1)
        if layer + 1 < num_layers:
            prefetch_first_block(thread, num_threads, matrices.weights[layer + 1, QKV], width, 3 * width)
        passed = wait_at_barrier(scratch.barrier, passed, num_threads)
    for row in range(thread, num_rows, num_threads):
        layer_norm(residual[row], matrices.final_norm, scratch.normed[row])
    return wait_at_barrier(scratch.barrier, passed, num_threads)


@njit(nogil=True, cache=True, error_model="numpy")
def project(thread, num_threads, passed, source, weights, out_scales, scratch, out):
    """source [M, I] · one packed matrix → out [M, O]."""
    num_rows, width = source.shape
    quantise_rows(thread, num_threads, num_rows, source, width, scratch)
    passed = wait_at_barrier(scratch.barrier, passed, num_threads)
    multiply(thread, num_threads, num_rows, weights, out_scales, width, out.shape[1], scratch, out, 0)
    wait_at_barrier(scratch.barrier, passed, num_threads)


@njit(nogil=True, cache=True, error_model="numpy")
def decode_and_draw(thread, num_threads, passed, rows, drawn, matrices, heads, cache, scratch, logits, draws):
    """A whole step in one call: rows to tokens.

    Args:
        drawn: int64 [2 R], the R rows with the text, then those without.
        heads: address of the packed weights and of their scales.
        logits: float32 [2 R, K · V], to write on.
    """
    passed = decode(thread, num_threads, passed, rows, matrices, cache, scratch)
    width, num_drawn = scratch.residual.shape[1], drawn.shape[0]
    for i in range(thread, num_drawn, num_threads):
        quantise_row(scratch.normed[drawn[i], :width], scratch.bytes[i], scratch.scales[i], scratch.starts[i])
    passed = wait_at_barrier(scratch.barrier, passed, num_threads)
    weights, out_scales = heads
    multiply(thread, num_threads, num_drawn, weights, out_scales, width, logits.shape[1], scratch, logits, 0)
    passed = wait_at_barrier(scratch.barrier, passed, num_threads)
    draw(thread, num_threads, passed, scratch.barrier, logits[: num_drawn // 2], logits[num_drawn // 2 :], draws)
