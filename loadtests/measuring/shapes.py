"""The decoder shapes that benchmarks name, with random weights shared by ours and the peer's model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import MusicgenDecoderConfig, T5Config

from deployments.language_model.config import DecoderConfig
from deployments.language_model.weights import expected_shapes

NUM_CODEBOOKS = 4
VOCAB_SIZE = 2048


@dataclass(frozen=True)
class DecoderShape:
    """width D, layers, heads, feed-forward width and the text encoder's width."""

    width: int
    layers: int
    heads: int
    ffn: int
    text_width: int = 768

    @property
    def config(self) -> DecoderConfig:
        return DecoderConfig(
            num_codebooks=NUM_CODEBOOKS,
            channels=1,
            vocab_size=VOCAB_SIZE,
            width=self.width,
            num_layers=self.layers,
            num_heads=self.heads,
            ffn_width=self.ffn,
            text_width=self.text_width,
        )

    @property
    def transformers_decoder(self) -> MusicgenDecoderConfig:
        return MusicgenDecoderConfig(
            vocab_size=VOCAB_SIZE,
            num_hidden_layers=self.layers,
            ffn_dim=self.ffn,
            num_attention_heads=self.heads,
            hidden_size=self.width,
            num_codebooks=NUM_CODEBOOKS,
        )

    @property
    def transformers_text_encoder(self) -> T5Config:
        """One layer: the prompt is encoded once, outside what is measured."""
        return T5Config(
            vocab_size=64,
            d_model=self.text_width,
            d_kv=64,
            d_ff=64,
            num_layers=1,
            num_heads=1,
            is_encoder_decoder=False,
        )


SHAPES = {
    "tiny": DecoderShape(width=256, layers=6, heads=4, ffn=1024, text_width=192),
    "small": DecoderShape(width=1024, layers=24, heads=16, ffn=4096),
    "medium": DecoderShape(width=1536, layers=48, heads=24, ffn=6144),
    "large": DecoderShape(width=2048, layers=48, heads=32, ffn=8192),
}


def random_tensors(config: DecoderConfig, seed: int = 0) -> dict[str, Tensor]:
    """float32, by transformers' names; norms are one and zero."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for name, shape in expected_shapes(config).items():
        if "norm" in name:
            tensors[name] = torch.full(shape, 1.0 if name.endswith("weight") else 0.0)
        else:
            tensors[name] = torch.empty(shape).normal_(0, 1 / shape[-1] ** 0.5, generator=generator)
    return tensors
