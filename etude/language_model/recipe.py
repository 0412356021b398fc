"""What a training of the language model is told: all that its result depends on, but for data and starting weights."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Recipe(BaseModel):
    """A folder that was begun with other settings is not resumed.

    steps: after which the learning rate has fallen to a tenth of its highest, and training ends. batch: clips in a
    step, for each process. context_s: the most that is heard of a clip at a time, as long as what is to be played: a
    place that was never trained on is played at random. With several, steps take turns, and one with a shorter window
    hears so many more clips. What a text says is told in a window's first moments, from then on the sound tells it
    itself: short ones teach to listen, long ones to go on. openings: how often a window begins where its clip does, as
    what is played begins; elsewhere nobody can tell from a tempo when the next beat is due. forgetting: how often a
    window is read with gaps, of any share of it or all: what was played before tells the same as the text does, and
    sooner or later better, so that who always hears it never learns to read. text_dropout: how often a clip is shown
    without its text, so that guidance has something to compare with. dropout: of the decoder's and text encoder's
    activations. weight_decay: of matrices. clip: the largest norm of a gradient. average: of the weights that are
    exported, the share of a moving average that stays at a step; 0 exports the last ones. text_encoder: whether it is
    trained with the rest; where words are worth little beside sound, what it knows is lost in the noise of its
    gradients. score: what telling scores' rolls weighs, in nats a frame, beside nats a
    code. precision: of the products; weights are float32 always. seed: of what is drawn.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    steps: int = Field(default=10000, ge=1)
    batch: int = Field(default=8, ge=1)
    context_s: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(10.0,), min_length=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup_steps: int = Field(default=200, ge=0)
    weight_decay: float = Field(default=0.1, ge=0)
    clip: float = Field(default=1.0, gt=0)
    openings: float = Field(default=0.0, ge=0, le=1)
    forgetting: float = Field(default=0.0, ge=0, le=1)
    text_dropout: float = Field(default=0.15, ge=0, le=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    average: float = Field(default=0.0, ge=0, lt=1)
    score: float = Field(default=0.0, ge=0)
    text_encoder: Literal["trained", "frozen"] = "trained"
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = Field(default=0, ge=0)

    def rate(self, step: int) -> float:
        """The factor of the learning rate at a step, counted from 0: a line up, then a half cosine down to 0.1."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return 0.55 + 0.45 * math.cos(math.pi * min(1.0, done))
