"""transformers' own MusicGen, and ours from the same checkpoint: the three shapes every comparison runs on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import MusicgenForConditionalGeneration

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.language_model.config import DecoderConfig
from deployments.language_model.weights import DecoderWeights, load_weights
from tests.tiny import tiny_checkpoint

SHAPES: dict[str, dict[str, int]] = {
    "narrow": {"layers": 2, "width": 64, "heads": 1, "text_width": 32, "filters": 4},
    "deep": {"layers": 5, "width": 96, "heads": 3, "ffn": 256, "text_width": 48, "filters": 6, "seed": 1},
    "wide": {"layers": 3, "width": 128, "heads": 2, "text_width": 128, "filters": 8, "seed": 2},
}


@dataclass(frozen=True)
class Pair:
    """One checkpoint, read by transformers (float32) and by us."""

    folder: Path
    theirs: MusicgenForConditionalGeneration
    config: DecoderConfig
    weights: DecoderWeights


def pair(folder: Path, shape: str) -> Pair:
    tiny_checkpoint(folder / shape, **SHAPES[shape])
    theirs = MusicgenForConditionalGeneration.from_pretrained(
        folder / shape, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    checkpoint = Checkpoint.open(folder / shape)
    config = DecoderConfig.from_transformers(checkpoint.config)
    return Pair(folder / shape, theirs, config, load_weights(checkpoint))


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference, as a fraction of the reference's RMS."""
    return float((ours - theirs).abs().max() / theirs.square().mean().sqrt())


def random_text_states(num_tokens: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((num_tokens, width)).astype(np.float32)
