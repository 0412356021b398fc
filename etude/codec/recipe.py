"""What a stage of training is told: everything that its result depends on, but for the data and the weights before."""

from __future__ import annotations

import math
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Stage = Literal["autoencoder", "quantiser", "decoder"]

STAGES = get_args(Stage)
"""autoencoder: encoder and decoder with nothing between. quantiser: all three; k-means begins it where the
codebooks are empty. decoder: it alone, so that codes already made of sounds stay what they are."""


class Recipe(BaseModel):
    """The settings of one stage. A folder that was begun with others is not resumed.

    steps: after which the learning rate has fallen to a tenth of its highest, and training ends. batch: crops in a
    step, for each process. seed: of the crops, and of the weights where they are new.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    stage: Stage
    steps: int = Field(default=20000, ge=1)
    batch: int = Field(default=8, ge=1)
    crop_s: float = Field(default=1.0, gt=0)
    learning_rate: float = Field(default=3e-4, gt=0)
    warmup_steps: int = Field(default=100, ge=0)
    clip: float = Field(default=1.0, gt=0)
    seed: int = Field(default=0, ge=0)

    def rate(self, step: int) -> float:
        """The factor of the learning rate at a step, counted from 0: a line up, then a half cosine down to 0.1."""
        warm = min(1.0, (step + 1) / (self.warmup_steps + 1))
        return warm * (0.55 + 0.45 * math.cos(math.pi * min(1.0, step / self.steps)))
