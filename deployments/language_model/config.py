"""The shape of a MusicGen decoder, read from a checkpoint's configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployments.checkpoints.config import CheckpointError
from deployments.language_model.engine.request import delays_of

if TYPE_CHECKING:
    from transformers import MusicgenConfig

ACTIVATIONS = ("gelu", "relu")


@dataclass(frozen=True)
class DecoderConfig:
    """K codebooks of `vocab_size` tokens; one more row in each embedding is the pad (and start) token."""

    num_codebooks: int
    channels: int
    vocab_size: int
    width: int
    num_layers: int
    num_heads: int
    ffn_width: int
    text_width: int
    activation: str = "gelu"

    def __post_init__(self) -> None:
        if self.width % self.num_heads:
            raise CheckpointError(f"the decoder's width {self.width} is not a multiple of its {self.num_heads} heads")
        if self.width % 2:
            raise CheckpointError(f"the decoder's width {self.width} is odd; sinusoidal positions need an even one")
        if self.activation not in ACTIVATIONS:
            raise CheckpointError(f"activation {self.activation!r} is not one of {', '.join(ACTIVATIONS)}")

    @property
    def head_width(self) -> int:
        return self.width // self.num_heads

    @property
    def pad_token(self) -> int:
        """Both "start" and "not yet": the row after the last real token."""
        return self.vocab_size

    @property
    def delays(self) -> tuple[int, ...]:
        return delays_of(self.num_codebooks, self.channels)

    @classmethod
    def from_transformers(cls, config: MusicgenConfig) -> DecoderConfig:
        """The shape of a transformers configuration's decoder.

        Raises:
            CheckpointError: For a shape this decoder doesn't have.
        """
        decoder = config.decoder
        return cls(
            num_codebooks=decoder.num_codebooks,
            channels=decoder.audio_channels,
            vocab_size=decoder.vocab_size,
            width=decoder.hidden_size,
            num_layers=decoder.num_hidden_layers,
            num_heads=decoder.num_attention_heads,
            ffn_width=decoder.ffn_dim,
            text_width=config.text_encoder.d_model,
            activation=decoder.activation_function,
        )
