"""Residual vector quantisation in training: transformers' own quantiser has codebooks, and no way to learn them.

The first codebook codes the latent, each next one what those before it left over. Codes are learned by k-means before
training goes on with them, and by moving averages after (van den Oord et al. 2017, appendix A); a code that is hardly
used moves to a latent of the present batch (Dhariwal et al. 2020). All of it lives in the buffers that `EncodecModel`
saves: `embed`, `embed_avg` and `cluster_size`, the last two in shares of the latents times the number of codes, so that
a fair share is 1 whatever the batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.models.encodec.modeling_encodec import EncodecEuclideanCodebook, EncodecResidualVectorQuantizer

# Moving averages keep this much at a step.
_DECAY = 0.99

# A code with less than this of its fair share is as good as dead.
_DEAD = 0.03

# Latents measured against all codes at a time: what limits the memory.
_CHUNK = 4096


@dataclass(frozen=True)
class Quantised:
    """latents: [B, D, T], the sums of codes, with the gradient of what was quantised. codes: [K, B · T].
    residuals: [K, B · T, D], what each codebook was given. commitment: scalar."""

    latents: Tensor
    codes: Tensor
    residuals: Tensor
    commitment: Tensor


def quantise(quantizer: EncodecResidualVectorQuantizer, latents: Tensor, depths: Tensor | None = None) -> Quantised:
    """Each latent as the sum of its nearest codes, residual by residual. latents: [B, D, T].

    depths: [B], how many codebooks are in a row's sums; None: all. Codes and residuals are of all either way.
    """
    batch, width, frames = latents.shape
    residual = latents.transpose(1, 2).reshape(-1, width)
    last = None if depths is None else depths.repeat_interleave(frames)[:, None]
    left_over = residual.detach()
    residuals, codes, commitments = [], [], []
    for place, layer in enumerate(quantizer.layers):
        code = layer.codebook.quantize(residual.detach())
        chosen = F.embedding(code, layer.codebook.embed)
        residuals.append(residual.detach())
        codes.append(code)
        commitments.append(F.mse_loss(residual, chosen))
        residual = residual - chosen
        left_over = residual.detach() if last is None else torch.where(last > place, residual.detach(), left_over)
    left_over = left_over.reshape(batch, frames, width).transpose(1, 2)
    commitment = torch.stack(commitments).mean()
    return Quantised(latents - left_over, torch.stack(codes), torch.stack(residuals), commitment)


@torch.no_grad()
def follow(quantizer: EncodecResidualVectorQuantizer, quantised: Quantised, generator: torch.Generator) -> int:
    """Moves the codes towards the latents they stood for, and dead ones onto others; returns how many were dead."""
    restarted = 0
    for layer, codes, residuals in zip(quantizer.layers, quantised.codes, quantised.residuals, strict=True):
        book = layer.codebook
        shares, sums = _shares(book, codes, residuals)
        book.cluster_size.lerp_(shares, 1 - _DECAY)
        book.embed_avg.lerp_(sums, 1 - _DECAY)
        dead = (book.cluster_size < _DEAD).nonzero().flatten()
        places = residuals[torch.randint(len(residuals), dead.shape, generator=generator).to(residuals.device)]
        book.cluster_size[dead] = 1.0
        book.embed_avg[dead] = places
        book.embed.copy_(book.embed_avg / book.cluster_size[:, None])
        restarted += len(dead)
    return restarted


@torch.no_grad()
def fit(
    quantizer: EncodecResidualVectorQuantizer,
    latents: Tensor,
    generator: torch.Generator,
    *,
    iterations: int = 12,
    anew: bool = True,
) -> None:
    """Sets all codebooks by k-means, residual by residual. latents: [N, D], many more than there are codes. anew: begin
    with latents drawn at random, else with the codes that are there, which then mean nearly what they did.

    Raises ValueError for fewer latents than codes.
    """
    size = quantizer.codebook_size
    if len(latents) < size:
        raise ValueError(f"k-means needs at least as many latents as codes, {size}, and has {len(latents)}")
    for layer in quantizer.layers:
        book = layer.codebook
        if anew:
            book.embed.copy_(latents[torch.randperm(len(latents), generator=generator)[:size]])
        for _ in range(iterations):
            codes, distances = _nearest(book, latents)
            shares, sums = _shares(book, codes, latents)
            # Whatever is furthest from its code gets a code of its own in place of one that nobody has.
            dead = (shares == 0).nonzero().flatten()
            shares[dead] = 1.0
            sums[dead] = latents[distances.topk(len(dead)).indices]
            book.embed.copy_(sums / shares[:, None])
        codes, _ = _nearest(book, latents)
        shares, _ = _shares(book, codes, latents)
        book.cluster_size.copy_(shares)
        book.embed_avg.copy_(book.embed * shares[:, None])
        latents = latents - book.embed[codes]


def is_unfitted(quantizer: EncodecResidualVectorQuantizer) -> bool:
    """Whether any codebook is still as an EncodecModel begins, all zero."""
    return any(not layer.codebook.embed.any() for layer in quantizer.layers)


def perplexities(quantizer: EncodecResidualVectorQuantizer) -> list[float]:
    """How many codes of each codebook would be in use if all of these were used alike: at most `codebook_size`."""
    return [perplexity(layer.codebook.cluster_size) for layer in quantizer.layers]


def perplexity(counts: Tensor) -> float:
    """Of a distribution given by counts, or by anything in proportion."""
    shares = counts[counts > 0].double()
    shares = shares / shares.sum()
    return math.exp(-float((shares * shares.log()).sum()))


def _nearest(book: EncodecEuclideanCodebook, latents: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest code of every latent, and the squared distance to it."""
    codes = torch.cat([book.quantize(chunk) for chunk in torch.split(latents, _CHUNK)])
    return codes, (latents - book.embed[codes]).square().sum(1)


def _shares(book: EncodecEuclideanCodebook, codes: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
    """What each code stood for, a fair share being 1, and the sum of it: [codes], [codes, D]."""
    fair = book.codebook_size / len(codes)
    shares = torch.bincount(codes, minlength=book.codebook_size).float() * fair
    sums = torch.zeros_like(book.embed).index_add_(0, codes, latents) * fair
    return shares, sums
