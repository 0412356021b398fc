"""Logits to tokens, in this order: guidance, temperature, top_k, top_p, draw. Pure functions.

R generations, K codebooks, V tokens. The kept set is that of transformers' TopKLogitsWarper and TopPLogitsWarper,
ties included. A draw is the argmax of kept scores plus Gumbel noise, which samples their softmax (Gumbel-max trick).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deployments.language_model.noise import gumbel
from deployments.messages import Sampling


@dataclass(frozen=True)
class SamplingBatch:
    """The settings of R generations, each [R].

    guidance_scale, temperature (1 where greedy): float32; top_p (1 where off): float64, for 1 - top_p is rounded once;
    greedy: bool; top_k (V where off): int64; seeds: uint64.
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
    """tokens: int64 [R, K]; guided: the logits they were drawn from, float32 [R, K, V], valid until the next draw."""

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
    keep = kept(scores, batch)
    row, codebook, token = keep.nonzero(as_tuple=True)
    seeds = torch.from_numpy(batch.seeds.view(np.int64)).to(device)
    noise = gumbel(seeds[row], torch.from_numpy(frames).to(device)[row, codebook], codebook, token)
    noisy = torch.full_like(scores, -torch.inf, dtype=torch.float64)
    noisy[row, codebook, token] = scores[row, codebook, token] + noise
    greedy = torch.from_numpy(batch.greedy).to(device)
    return torch.where(greedy[:, None], logits.argmax(-1), noisy.argmax(-1))


def kept(scores: Tensor, batch: SamplingBatch) -> Tensor:
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
