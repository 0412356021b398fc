"""Checkpoints small enough for every test to have its own: real MusicGens in transformers' format, made in a moment."""

from __future__ import annotations

from pathlib import Path

import torch

from etude.random_checkpoint import Shape, make_checkpoint


def tiny_checkpoint(
    folder: Path,
    *,
    layers: int = 2,
    width: int = 64,
    heads: int = 2,
    ffn: int = 128,
    codebooks: int = 4,
    channels: int = 1,
    vocab: int = 2048,
    text_layers: int = 2,
    text_width: int = 32,
    filters: int = 4,
    ratios: tuple[int, ...] = (8, 5, 4, 4),
    codec_width: int = 32,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Path:
    """A MusicGen of random weights in `folder`, which must not exist or be empty; returns it.

    Everything is drawn, codebooks, norms and biases too, so that a reader who forgets any of it is found out.
    The sample rate is 50 times the product of the ratios.
    """
    shape = Shape(
        layers=layers,
        width=width,
        heads=heads,
        ffn=ffn,
        codebooks=codebooks,
        channels=channels,
        vocab=vocab,
        text_layers=text_layers,
        text_width=text_width,
        text_heads=2,
        text_head_width=16,
        text_ffn=2 * text_width,
        filters=filters,
        ratios=ratios,
        codec_width=codec_width,
        dtype=dtype,
    )
    return make_checkpoint(folder, shape=shape, seed=seed)
