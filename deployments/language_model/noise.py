"""The noise of a draw: a pure function of (seed, frame, codebook, token), computed where the logits are.

Counter-based: three rounds of the splitmix64 finaliser (Steele, Lea & Flood 2014, "Fast splittable pseudorandom
number generators"; constants: Stafford's Mix13), each adding one more part of the counter. No state, so a
generation resumed anywhere draws what it would have drawn.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64
_MAX_CODEBOOKS = 64
_VECTOR = 64  # a multiple of every vector width in doubles
_BLOCK = 2**14  # below the size from which torch splits an elementwise operation among threads


def gumbel(seeds: Tensor, frames: Tensor, codebooks: Tensor, tokens: Tensor) -> Tensor:
    """Standard Gumbel noise, float64 [n], for int64 vectors [n]. Always finite: |noise| < 37.

    Logarithms are taken over whole vectors of a padded block only: in the remainder of a vectorised loop the last
    bit may come out differently, and a draw must not depend on how many others are made beside it.
    """
    key = _mix(seeds + _GOLDEN)
    key = _mix(key + (frames * _MAX_CODEBOOKS + codebooks) * _GOLDEN)
    bits = _mix(key + (tokens + 1) * _GOLDEN)
    # 52 bits and a half: exact in float64, and never 0 or 1.
    uniform = (_shift_right(bits, 12).double() + 0.5) * 2.0**-52
    padded = uniform.new_full((-(-uniform.numel() // _VECTOR) * _VECTOR,), 0.5)
    padded[: uniform.numel()] = uniform
    blocks = [-torch.log(-torch.log(block)) for block in torch.split(padded, _BLOCK)]
    return torch.cat(blocks)[: uniform.numel()] if blocks else padded


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _MIX_1
    x = (x ^ _shift_right(x, 27)) * _MIX_2
    return x ^ _shift_right(x, 31)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift: torch's own keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
