"""The sampler in Triton: the logits of one codebook of one draw to its token, in one program.

The same guidance, kept set and noise as `sampler` and `noise`. The top_k-th largest score, and the score up to which
top_p drops, are found bit by bit in an order-keeping integer form of the scores: sums over all tokens, no sorting.
"""

# mypy: ignore-errors
# Triton compiles these for the types they are called with.
from __future__ import annotations

import triton
import triton.language as tl

_GOLDEN = tl.constexpr(0x9E3779B97F4A7C15)
_MIX_1 = tl.constexpr(0xBF58476D1CE4E5B9)
_MIX_2 = tl.constexpr(0x94D049BB133111EB)
_MAX_CODEBOOKS = tl.constexpr(64)
_SIGN = tl.constexpr(0x80000000)
_ALL = tl.constexpr(0xFFFFFFFF)


@triton.jit
def mix(x):
    """splitmix64's finaliser."""
    x = (x ^ (x >> 30)) * tl.full((), _MIX_1, tl.uint64)
    x = (x ^ (x >> 27)) * tl.full((), _MIX_2, tl.uint64)
    return x ^ (x >> 31)


@triton.jit
def gumbel(seed, frame, codebook, tokens):
    """As `noise.gumbel`: float64, for tokens int32 [V]."""
    golden = tl.full((), _GOLDEN, tl.uint64)
    key = mix(seed.to(tl.uint64) + golden)
    key = mix(key + (frame.to(tl.int64) * _MAX_CODEBOOKS + codebook).to(tl.uint64) * golden)
    bits = mix(key + (tokens.to(tl.uint64) + 1) * golden)
    uniform = ((bits >> 12).to(tl.float64) + 0.5) * 2.220446049250313e-16
    return -tl.log(-tl.log(uniform))


@triton.jit
def order_of(scores):
    """uint32 that sort as the float32 scores do; -0 below 0."""
    bits = scores.to(tl.uint32, bitcast=True)
    return tl.where(bits >= _SIGN, bits ^ _ALL, bits | _SIGN)


@triton.jit
def draw(
    logits,
    slots,
    positions,
    with_text,
    without_text,
    delays,
    guidance,
    temperature,
    greedy,
    top_k,
    tail,
    seeds,
    tokens,
    guided,
    drawn,
    CODEBOOKS: tl.constexpr,
    VOCABULARY: tl.constexpr,
    BLOCK: tl.constexpr,
    TOKENS_SLOT: tl.constexpr,
):
    """Grid: (M, CODEBOOKS); draws after the last are none. BLOCK: VOCABULARY up to a power of two."""
    number, codebook = tl.program_id(0), tl.program_id(1)
    row = tl.load(with_text + number)
    if row >= 0:
        vocabulary = tl.arange(0, BLOCK)
        inside = vocabulary < VOCABULARY
        first = codebook * VOCABULARY + vocabulary
        text = tl.load(logits + row * CODEBOOKS * VOCABULARY + first, mask=inside, other=0.0)
        other_row = tl.load(without_text + number)
        other = tl.load(logits + other_row * CODEBOOKS * VOCABULARY + first, mask=inside, other=0.0)
        slot, position = tl.load(slots + row), tl.load(positions + row)
        strength = tl.load(guidance + slot)
        logit = tl.where(strength == 1, text, other + (text - other) * strength)
        tl.store(guided + number * CODEBOOKS * VOCABULARY + first, logit, mask=inside)
        logit = tl.where(inside, logit, float("-inf"))
        if tl.load(greedy + slot) != 0:
            token = tl.argmax(logit, 0)
        else:
            scores = tl.where(inside, logit / tl.load(temperature + slot), float("-inf"))
            order = order_of(scores)
            keep = inside
            rank = tl.load(top_k + slot)
            if rank < VOCABULARY:
                least, bit = tl.full((), 0, tl.uint32), tl.full((), _SIGN, tl.uint32)
                for _ in range(32):
                    candidate = least | bit
                    bit = bit >> 1
                    enough = tl.sum((order >= candidate).to(tl.int32), 0) >= rank
                    least = tl.where(enough, candidate, least)
                # As floats: 0 and -0 are as likely as each other.
                keep = keep & (scores >= tl.min(tl.where(order >= least, scores, float("inf")), 0))
            dropped_share = tl.load(tail + slot)
            if dropped_share > 0:
                kept_scores = tl.where(keep, scores, float("-inf"))
                powers = tl.where(keep, tl.exp(kept_scores - tl.max(kept_scores, 0)), 0.0)
                shares = powers / tl.sum(powers, 0)
                least, bit = tl.full((), 0, tl.uint32), tl.full((), _SIGN, tl.uint32)
                for _ in range(32):
                    candidate = least | bit
                    bit = bit >> 1
                    below = tl.sum(tl.where(order < candidate, shares, 0.0), 0) <= dropped_share
                    least = tl.where(below, candidate, least)
                # Of equals, those of lower number go first; the reference's sort leaves that open.
                equal = keep & (order == least)
                share = tl.max(tl.where(equal, shares, 0.0), 0)
                place = tl.cumsum(equal.to(tl.int32), 0)
                up_to = tl.sum(tl.where(order < least, shares, 0.0), 0) + place * share
                likeliest = tl.max(tl.where(keep & (scores == tl.max(kept_scores, 0)), vocabulary, -1), 0)
                stays = (order > least) | (equal & (up_to > dropped_share)) | (vocabulary == likeliest)
                keep = keep & stays
            frame = position - tl.load(delays + codebook)
            noisy = scores.to(tl.float64) + gumbel(tl.load(seeds + slot), frame, codebook, vocabulary)
            token = tl.argmax(tl.where(keep, noisy, float("-inf")), 0)
        tl.store(drawn + number * CODEBOOKS + codebook, token.to(tl.int32))
        following = tokens + slot * TOKENS_SLOT + (position + 1) * CODEBOOKS + codebook
        if tl.load(following) < 0:
            tl.store(following, token.to(tl.int32))
