"""Logits to tokens, in this order: guidance, temperature, top_k, top_p, draw. Pure functions.

R requests, K codebooks, V tokens. The tokens that may be drawn are those of transformers' TopKLogitsWarper and
TopPLogitsWarper, ties included. A draw is the argmax of their scores plus Gumbel noise, which samples the softmax
(Gumbel-max trick).

The noise is a pure function of (seed, frame, codebook, token), computed where the logits are. It is counter-based:
three rounds of the splitmix64 finaliser (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators";
constants: Stafford's Mix13), each adding one more part of the counter. There is no state, so a request resumed anywhere
draws what it would have drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deployments.messages import Sampling

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


@dataclass(frozen=True)
class SamplingBatch:
    """The settings of R requests, each [R].

    Attributes:
        guidance_scale, temperature (1 where greedy): float32.
        top_p (1 where off): float64, for 1 - top_p is rounded once.
        greedy: bool.
        top_k (V where off): int64.
        seeds: uint64.
    """

    guidance_scale: np.ndarray
    temperature: np.ndarray
    greedy: np.ndarray
    top_k: np.ndarray
    top_p: np.ndarray
    seeds: np.ndarray

    @classmethod
    def of(cls, samplings: Sequence[Sampling], seeds: Sequence[int], vocab_size: int) -> SamplingBatch:
        temperature = np.array([s.temperature for s in samplings], np.float32)
        return cls(
            guidance_scale=np.array([s.guidance_scale for s in samplings], np.float32),
            temperature=np.where(temperature == 0, np.float32(1), temperature),
            greedy=temperature == 0,
            top_k=np.array([min(s.top_k, vocab_size) or vocab_size for s in samplings], np.int64),
            top_p=np.array([s.top_p or 1.0 for s in samplings], np.float64),
            seeds=np.array(seeds, np.uint64),
        )

    @property
    def any_top_p(self) -> bool:
        return bool((self.top_p < 1).any())


@dataclass(frozen=True)
class Draw:
    """The tokens of a step.

    Attributes:
        tokens: int64 [R, K].
        guided: the logits they were drawn from, float32 [R, K, V], valid until the next draw.
    """

    tokens: np.ndarray
    guided: Tensor


def guide(with_text: Tensor, without_text: Tensor, batch: SamplingBatch) -> Tensor:
    """[R, K, V] twice → [R, K, V] (Ho & Salimans 2022, on logits). At scale 1 exactly `with_text`."""
    scale = _as_rows(batch.guidance_scale, with_text)
    return torch.where(scale == 1, with_text, without_text + (with_text - without_text) * scale)


def sample(logits: Tensor, batch: SamplingBatch, frames: np.ndarray) -> Tensor:
    """Guided logits [R, K, V], frames int64 [R, K] → tokens int64 [R, K]."""
    device = logits.device
    scores = logits / _as_rows(batch.temperature, logits)
    keep = keep_mask(scores, batch)
    row, codebook, token = keep.nonzero(as_tuple=True)
    seeds = torch.from_numpy(batch.seeds.view(np.int64)).to(device)
    noise = gumbel(seeds[row], torch.from_numpy(frames).to(device)[row, codebook], codebook, token)
    noisy = torch.full_like(scores, -torch.inf, dtype=torch.float64)
    noisy[row, codebook, token] = scores[row, codebook, token] + noise
    greedy = torch.from_numpy(batch.greedy).to(device)
    return torch.where(greedy[:, None], logits.argmax(-1), noisy.argmax(-1))


def keep_mask(scores: Tensor, batch: SamplingBatch) -> Tensor:
    """Scores [R, K, V] → bool [R, K, V]: the tokens that may be drawn."""
    vocab_size, max_top_k = scores.shape[-1], int(batch.top_k.max())
    keep = torch.ones_like(scores, dtype=torch.bool)
    if batch.top_k.min() < vocab_size:
        best = scores.topk(max_top_k).values
        rank = _as_rows(batch.top_k - 1, scores).expand(-1, scores.shape[1], 1)
        keep = scores >= best.gather(-1, rank)
    if batch.any_top_p:
        rows = torch.from_numpy(batch.top_p < 1).nonzero()[:, 0].to(scores.device)
        top_p = torch.from_numpy(batch.top_p).to(scores.device)[rows]
        keep[rows] &= nucleus(scores[rows].masked_fill(~keep[rows], -torch.inf), top_p)
    return keep


def nucleus(scores: Tensor, top_p: Tensor) -> Tensor:
    """bool [R, K, V]: the smallest set of likeliest tokens whose probability reaches top_p [R] (Holtzman 2020)."""
    ascending, order = scores.sort(descending=False)
    below = ascending.softmax(-1).cumsum(-1) <= (1 - top_p).float()[:, None, None]
    below[..., -1] = False  # the likeliest token always stays
    return ~below.scatter(-1, order, below)


def _as_rows(values: np.ndarray, like: Tensor) -> Tensor:
    """[R] → [R, 1, 1], where `like` is."""
    return torch.from_numpy(values).to(like.device)[:, None, None]
