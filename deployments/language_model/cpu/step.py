"""One decoding step, compiled: every thread of a team runs it, each on its part, meeting at barriers.

Work is cut so that each number is made by one thread from whole rows, in an order that does not depend on how many
threads there are, or how many rows, nor on how all this was compiled (`arithmetic`). float32 throughout, but for what
memory reads: weights and activations of products are bytes, keys and values float16.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from deployments.language_model.cpu.attention import attend_to_itself, attend_to_text, remember
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
from deployments.language_model.cpu.products import fetch_first, multiply, rows_to_bytes, to_bytes
from deployments.language_model.cpu.sampling import draw
from deployments.language_model.cpu.team import meet

_EPSILON = np.float32(1e-5)


@njit(nogil=True, cache=True, error_model="numpy")
def normalise(x, norm, out):
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
def rectify(x):
    """In place, [F]: relu."""
    for i in range(x.shape[0]):
        x[i] = max(x[i], np.float32(0))


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
    """Rows through all layers; their hidden states after the final norm are in `scratch.normed`. As `meet` gives."""
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

        normed_rows_to_bytes(thread, num_threads, num_rows, norms[SELF_NORM], scratch)
        met = meet(scratch.barrier, met, num_threads)
        multiply(thread, num_threads, num_rows, w[QKV], s[QKV], width, 3 * width, scratch, wide, 0)
        fetch_first(thread, num_threads, w[SELF_OUT], width, width)
        met = meet(scratch.barrier, met, num_threads)
        remember(thread, num_threads, layer, rows, cache, scratch, num_rows, num_heads)
        attend_to_itself(thread, num_threads, layer, rows, cache, scratch, num_rows, num_heads)
        met = meet(scratch.barrier, met, num_threads)
        rows_to_bytes(thread, num_threads, num_rows, attended, width, scratch)
        met = meet(scratch.barrier, met, num_threads)
        multiply(thread, num_threads, num_rows, w[SELF_OUT], s[SELF_OUT], width, width, scratch, residual, 1)
        fetch_first(thread, num_threads, w[CROSS_Q], width, width)
        met = meet(scratch.barrier, met, num_threads)

        normed_rows_to_bytes(thread, num_threads, num_rows, norms[CROSS_NORM], scratch)
        met = meet(scratch.barrier, met, num_threads)
        multiply(thread, num_threads, num_rows, w[CROSS_Q], s[CROSS_Q], width, width, scratch, wide, 0)
        fetch_first(thread, num_threads, w[CROSS_OUT], width, width)
        met = meet(scratch.barrier, met, num_threads)
        attend_to_text(thread, num_threads, layer, rows, cache, scratch, num_rows, num_heads)
        met = meet(scratch.barrier, met, num_threads)
        rows_to_bytes(thread, num_threads, num_rows, attended, width, scratch)
        met = meet(scratch.barrier, met, num_threads)
        multiply(thread, num_threads, num_rows, w[CROSS_OUT], s[CROSS_OUT], width, width, scratch, residual, 1)
        fetch_first(thread, num_threads, w[FFN_IN], width, ffn)
        met = meet(scratch.barrier, met, num_threads)

        normed_rows_to_bytes(thread, num_threads, num_rows, norms[FFN_NORM], scratch)
        met = meet(scratch.barrier, met, num_threads)
        multiply(thread, num_threads, num_rows, w[FFN_IN], s[FFN_IN], width, ffn, scratch, wide, 0)
        fetch_first(thread, num_threads, w[FFN_OUT], ffn, width)
        met = meet(scratch.barrier, met, num_threads)
        for row in range(thread, num_rows, num_threads):
            if matrices.gelu:
                gelu(wide[row, :ffn])
            else:
                rectify(wide[row, :ffn])
        rows_to_bytes(thread, num_threads, num_rows, wide, ffn, scratch)
        met = meet(scratch.barrier, met, num_threads)
        multiply(thread, num_threads, num_rows, w[FFN_OUT], s[FFN_OUT], ffn, width, scratch, residual, 1)
        if layer + 1 < num_layers:
            fetch_first(thread, num_threads, matrices.weights[layer + 1, QKV], width, 3 * width)
        met = meet(scratch.barrier, met, num_threads)
    for row in range(thread, num_rows, num_threads):
        normalise(residual[row], matrices.final_norm, scratch.normed[row])
    return meet(scratch.barrier, met, num_threads)


@njit(nogil=True, cache=True, error_model="numpy")
def project(thread, num_threads, met, source, weights, out_scales, scratch, out):
    """source [M, I] · one packed matrix → out [M, O]."""
    num_rows, width = source.shape
    rows_to_bytes(thread, num_threads, num_rows, source, width, scratch)
    met = meet(scratch.barrier, met, num_threads)
    multiply(thread, num_threads, num_rows, weights, out_scales, width, out.shape[1], scratch, out, 0)
    meet(scratch.barrier, met, num_threads)


@njit(nogil=True, cache=True, error_model="numpy")
def decode_and_draw(thread, num_threads, met, rows, drawn, matrices, heads, cache, scratch, logits, draws):
    """A whole step in one piece: rows to tokens. drawn: int64 [2 R], the R rows with the text, then those without;
    heads: address of the packed weights and of their scales; logits: float32 [2 R, K · V], to write on.
    """
    met = decode(thread, num_threads, met, rows, matrices, cache, scratch)
    width, num_drawn = scratch.residual.shape[1], drawn.shape[0]
    for i in range(thread, num_drawn, num_threads):
        to_bytes(scratch.normed[drawn[i], :width], scratch.bytes[i], scratch.scales[i], scratch.starts[i])
    met = meet(scratch.barrier, met, num_threads)
    weights, out_scales = heads
    multiply(thread, num_threads, num_drawn, weights, out_scales, width, logits.shape[1], scratch, logits, 0)
    met = meet(scratch.barrier, met, num_threads)
    draw(thread, num_threads, met, scratch.barrier, logits[: num_drawn // 2], logits[num_drawn // 2 :], draws)
