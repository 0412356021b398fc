"""The shape of the codec: which EncodecModel of transformers is trained."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field
from transformers import EncodecConfig

FRAME_RATE = 50


class Geometry(BaseModel):
    """An EnCodec of MusicGen's kind: 50 frames a second, not causal, weight norm, two LSTM layers, no shortcuts.

    ratios: of the decoder's upsampling, first to last; their product is the hop. MusicGen's are 8, 5, 4, 4, which makes
    32 kHz, AudioGen's 8, 5, 4, 2, 16 kHz. filters: channels next to the sound, doubled at each ratio; both have 64.
    latent_width: dimensions of a frame's latent and of a code. codebook_size: a power of two.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    ratios: tuple[int, ...] = (8, 5, 4, 4)
    filters: int = Field(default=16, ge=4)
    latent_width: int = Field(default=128, ge=1)
    codebooks: int = Field(default=4, ge=1)
    codebook_size: int = Field(default=2048, ge=2)

    @property
    def hop(self) -> int:
        """Samples in a frame."""
        return math.prod(self.ratios)

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return FRAME_RATE * self.hop

    def config(self) -> EncodecConfig:
        """transformers' configuration of this shape."""
        bits_per_frame = self.codebooks * (self.codebook_size.bit_length() - 1)
        return EncodecConfig(
            sampling_rate=self.sample_rate,
            upsampling_ratios=list(self.ratios),
            num_filters=self.filters,
            hidden_size=self.latent_width,
            codebook_size=self.codebook_size,
            target_bandwidths=[FRAME_RATE * bits_per_frame / 1000],
            use_causal_conv=False,
            use_conv_shortcut=False,
        )
