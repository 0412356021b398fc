"""Kernels that call one function of the sampler each: Triton runs functions inside of a kernel only."""

# mypy: ignore-errors
from __future__ import annotations

import triton
import triton.language as tl

from deployments.language_model.gpu.draws import gumbel, mix, order_of


@triton.jit
def mix_all(numbers, mixed, BLOCK: tl.constexpr):
    each = tl.arange(0, BLOCK)
    tl.store(mixed + each, mix(tl.load(numbers + each).to(tl.uint64)).to(tl.int64))


@triton.jit
def noise_of(seeds, frames, codebooks, noise, BLOCK: tl.constexpr):
    """Grid: (M,). noise: float64 [M, BLOCK]."""
    row, tokens = tl.program_id(0), tl.arange(0, BLOCK)
    drawn = gumbel(tl.load(seeds + row), tl.load(frames + row), tl.load(codebooks + row), tokens)
    tl.store(noise + row * BLOCK + tokens, drawn)


@triton.jit
def order_all(scores, orders, BLOCK: tl.constexpr):
    each = tl.arange(0, BLOCK)
    tl.store(orders + each, order_of(tl.load(scores + each)).to(tl.int64))
