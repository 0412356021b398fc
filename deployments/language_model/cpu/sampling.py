"""The sampler compiled, for logits in a CPU's memory: the same tokens as `engine.sampler.sample`, row by row.

A row here is one codebook of one request. Each is computed alone, by one thread, with scalar logarithms: its token
depends on nothing beside it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from deployments.language_model.cpu.team import wait_at_barrier

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_MAX_CODEBOOKS = np.uint64(64)
_SIGN = np.uint32(0x80000000)
_LOWEST = np.int32(-(2**31))
_HALF = np.uint64(1) << np.uint64(63)
# Gumbel noise grows with its uniform: below 1 - 2 ** -(n + 1), for n leading ones, it is less than this. The last few
# thousandths of a nat are for rounding.
_LARGEST_NOISE = np.array([-math.log(-math.log1p(-(2.0 ** -(n + 1)))) + 1e-3 for n in range(53)])


@njit(nogil=True, cache=True, error_model="numpy")
def _mix(x):
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


@njit(nogil=True, cache=True, error_model="numpy")
def random_bits(seed, frame, codebook, token):
    """64 bits for one counter: seed uint64, the others int64; see `engine.sampler.gumbel`."""
    key = _mix(seed + _GOLDEN)
    key = _mix(key + (np.uint64(frame) * _MAX_CODEBOOKS + np.uint64(codebook)) * _GOLDEN)
    return _mix(key + (np.uint64(token) + np.uint64(1)) * _GOLDEN)


@njit(nogil=True, cache=True, error_model="numpy")
def gumbel_of(bits):
    uniform = (np.float64(bits >> np.uint64(12)) + 0.5) * 2.0**-52
    return -math.log(-math.log(uniform))


@njit(nogil=True, cache=True, error_model="numpy")
def gumbel(seed, frame, codebook, token):
    """`noise.gumbel` for one counter."""
    return gumbel_of(random_bits(seed, frame, codebook, token))


@njit(nogil=True, cache=True, error_model="numpy")
def noise_upper_bound(bits):
    """More than `gumbel_of` these bits can be, without a logarithm."""
    ones = 0
    while bits & _HALF and ones < 52:
        bits = bits << np.uint64(1)
        ones += 1
    return _LARGEST_NOISE[ones]


@njit(nogil=True, cache=True, error_model="numpy")
def kth_largest(scores, bits, rank, keys):
    """The rank-th largest (from 1) of scores float32 [V].

    Without sorting: of integers that are ordered as the floats are, the largest one that `rank` of them reach is found
    bit by bit, by counting, which is done by vectors.

    Args:
        bits: the same memory as int32.
        keys: int32 [V], to write on.
    """
    for i in range(bits.shape[0]):
        keys[i] = bits[i] ^ ((bits[i] >> np.int32(31)) & np.int32(0x7FFFFFFF))
    found = _LOWEST
    for bit in range(31, -1, -1):
        # From the lowest integer up: the first step is to 0, which is the highest bit's worth.
        candidate = np.int32(0) if bit == 31 else np.int32(found + (np.int32(1) << np.int32(bit)))
        reached = np.int32(0)
        for i in range(keys.shape[0]):
            reached += np.int32(keys[i] >= candidate)
        if reached >= rank:
            found = candidate
    for i in range(keys.shape[0]):
        if keys[i] == found:
            return scores[i]
    return scores[0]


@njit(nogil=True, cache=True, error_model="numpy")
def guide_row(with_text, without_text, guidance, temperature, guided, scores):
    """One codebook of one request, each float32 [V]: `sampler.guide`, and the result over the temperature."""
    if guidance == 1:
        for v in range(guided.shape[0]):
            guided[v] = with_text[v]
    else:
        for v in range(guided.shape[0]):
            guided[v] = without_text[v] + (with_text[v] - without_text[v]) * guidance
    for v in range(guided.shape[0]):
        scores[v] = guided[v] / temperature


@njit(nogil=True, cache=True, error_model="numpy")
def draw(thread, num_threads, passed, barrier, with_text, without_text, draws):
    """Guidance to token for every row.

    Args:
        with_text, without_text: float32 [R, K · V].
        draws: `layout.Draws`.
    """
    num_codebooks, vocab_size = draws.guided.shape[1:]
    own, own_bits, keys = draws.scores[thread], draws.score_bits[thread], draws.keys[thread]
    for unit in range(thread, draws.guided.shape[0] * num_codebooks, num_threads):
        r, k = unit // num_codebooks, unit % num_codebooks
        mine = slice(k * vocab_size, (k + 1) * vocab_size)
        guided = draws.guided[r, k]
        guide_row(with_text[r, mine], without_text[r, mine], draws.guidance[r], draws.temperature[r], guided, own)
        if draws.greedy[r]:
            draws.tokens[r, k] = np.argmax(guided)
            continue
        threshold = np.float32(-np.inf)
        if draws.top_k[r] < vocab_size:
            threshold = kth_largest(own, own_bits, draws.top_k[r], keys)
        best, highest = 0, -np.inf
        for v in range(vocab_size):
            if own[v] >= threshold and (draws.nucleus.shape[0] == 0 or draws.nucleus[r, k, v]):
                bits = random_bits(draws.seeds[r], draws.frames[r, k], k, v)
                if np.float64(own[v]) + noise_upper_bound(bits) > highest:
                    noisy = np.float64(own[v]) + gumbel_of(bits)
                    if noisy > highest:
                        highest, best = noisy, v
        draws.tokens[r, k] = best
    wait_at_barrier(barrier, passed, num_threads)
