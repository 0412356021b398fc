"""The sampler compiled, for logits that are in a CPU's memory: the same tokens as `sampler.sample`, row by row.

A row here is one codebook of one generation. Each is worked through alone, by one thread, with scalar logarithms: its
token depends on nothing beside it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from deployments.language_model.cpu.step import meet

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_MAX_CODEBOOKS = np.uint64(64)
_SIGN = np.uint32(0x80000000)
NUM_COUNTS = 1 << 11


@njit(nogil=True, cache=True, error_model="numpy")
def _mix(x):
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


@njit(nogil=True, cache=True, error_model="numpy")
def gumbel(seed, frame, codebook, token):
    """`noise.gumbel` for one counter: seed uint64, the others int64."""
    key = _mix(seed + _GOLDEN)
    key = _mix(key + (np.uint64(frame) * _MAX_CODEBOOKS + np.uint64(codebook)) * _GOLDEN)
    bits = _mix(key + (np.uint64(token) + np.uint64(1)) * _GOLDEN)
    uniform = (np.float64(bits >> np.uint64(12)) + 0.5) * 2.0**-52
    return -math.log(-math.log(uniform))


@njit(nogil=True, cache=True, error_model="numpy")
def kth_largest(scores, bits, rank, counts):
    """The rank-th largest (from 1) of scores float32 [V]; bits: the same memory as uint32. No order, no copy: by
    counting leading digits of the bits, flipped so that they sort as the floats do. counts: int64 [2048], to write on.
    """
    prefix = np.uint32(0)
    known = np.uint32(0)
    for shift, width in ((21, 11), (10, 11), (0, 10)):
        counts[:] = 0
        for i in range(bits.shape[0]):
            key = bits[i] ^ (np.uint32(0xFFFFFFFF) if bits[i] & _SIGN else _SIGN)
            if key & known == prefix:
                counts[(key >> np.uint32(shift)) & np.uint32((1 << width) - 1)] += 1
        digit = (1 << width) - 1
        while counts[digit] < rank:
            rank -= counts[digit]
            digit -= 1
        prefix |= np.uint32(digit) << np.uint32(shift)
        known |= np.uint32((1 << width) - 1) << np.uint32(shift)
    for i in range(bits.shape[0]):
        if bits[i] ^ (np.uint32(0xFFFFFFFF) if bits[i] & _SIGN else _SIGN) == prefix:
            return scores[i]
    return scores[0]


@njit(nogil=True, cache=True, error_model="numpy")
def draw(
    thread,
    num_threads,
    met,
    barrier,
    with_text,
    without_text,
    guidance,
    temperature,
    greedy,
    top_k,
    seeds,
    frames,
    nucleus,
    guided,
    scores,
    score_bits,
    counts,
    tokens,
):
    """Guidance to token for every row. R generations, K codebooks, V tokens.

    with_text, without_text: float32 [R, K · V]; guidance, temperature: float32 [R]; greedy: bool [R]; top_k: int64 [R];
    seeds: uint64 [R]; frames: int64 [R, K]; nucleus: bool [R, K, V], what top_p keeps, or of no rows where it is off.
    Writes guided float32 [R, K, V] and tokens int64 [R, K]. scores float32 and score_bits uint32 (one memory), counts
    int64: [threads, …], to write on.
    """
    num_codebooks, vocab_size = guided.shape[1:]
    own, own_bits, own_counts = scores[thread], score_bits[thread], counts[thread]
    for unit in range(thread, guided.shape[0] * num_codebooks, num_threads):
        r, k = unit // num_codebooks, unit % num_codebooks
        first = k * vocab_size
        best = 0
        for v in range(vocab_size):
            text = with_text[r, first + v]
            logit = text
            if guidance[r] != 1:
                without = without_text[r, first + v]
                logit = without + (text - without) * guidance[r]
            guided[r, k, v] = logit
            own[v] = logit / temperature[r]
            if logit > guided[r, k, best]:
                best = v
        if not greedy[r]:
            threshold = np.float32(-np.inf)
            if top_k[r] < vocab_size:
                threshold = kth_largest(own, own_bits, top_k[r], own_counts)
            highest = -np.inf
            for v in range(vocab_size):
                if own[v] >= threshold and (nucleus.shape[0] == 0 or nucleus[r, k, v]):
                    noisy = np.float64(own[v]) + gumbel(seeds[r], frames[r, k], k, v)
                    if noisy > highest:
                        highest, best = noisy, v
        tokens[r, k] = best
    meet(barrier, met, num_threads)
