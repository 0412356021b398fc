"""What a run is told: everything that its result depends on, but for the data and the weights before."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Recipe(BaseModel):
    """The settings of a run. A folder that was begun with others is not resumed.

    steps: after which training ends. half_life: steps in which the learning rate falls to a half. batch: crops in a
    step, for each process. commitment: of the gradient that latents get, the share that draws them to their codes,
    against the decoder's, 1. dropped: in how many of the crops the decoder hears fewer codebooks than there are.
    rests: in how many of the crops there is silence from some moment on. average: what the averaged weights keep at a
    step. judged: how many crops of a step a discriminator hears, the first ones; 0: there is none. judged_from: from
    which step on its verdicts count; it learns before. seed: of crops and of all that is drawn.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    steps: int = Field(default=25000, ge=1)
    batch: int = Field(default=4, ge=1)
    crop_s: float = Field(default=1.0, gt=0)
    learning_rate: float = Field(default=3e-4, gt=0)
    warmup_steps: int = Field(default=100, ge=0)
    half_life: int = Field(default=20000, ge=1)
    commitment: float = Field(default=0.15, ge=0)
    dropped: float = Field(default=0.1, ge=0, le=1)
    rests: float = Field(default=0.06, ge=0, le=1)
    average: float = Field(default=0.999, ge=0, lt=1)
    judged: int = Field(default=0, ge=0)
    judged_from: int = Field(default=200, ge=0)
    seed: int = Field(default=0, ge=0)

    def rate(self, step: int) -> float:
        """The factor of the learning rate at a step, counted from 0: a line up, then halved every `half_life` steps."""
        warm = min(1.0, (step + 1) / (self.warmup_steps + 1))
        return float(warm * 0.5 ** (step / self.half_life))
