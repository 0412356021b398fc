"""How many replicas a deployment has as its work comes and goes: what an operator may set."""

from __future__ import annotations

from pydantic import Field, model_validator

from deployments.messages import QueueClass
from deployments.scaling_stats import Targets
from serve_app.strict import StrictModel

_LONGEST_S = 24 * 3600.0


class AutoscalingSettings(StrictModel):
    """Bounds and delays, which Serve keeps to, and what the policy aims at within them (`policy.py`).

    min_replicas: 0 lets it go when nobody asks; the next request waits until one is up. initial_replicas: to start
    with; if not said, min_replicas. upscale_delay_s, downscale_delay_s: for so long it has to be wanted.
    downscale_to_zero_delay_s: for the last replica. look_back_s: over which load is averaged.
    target_load, target_wait_s: of a language model, as `Targets` has them; if not said, as suits its queue class.
    """

    min_replicas: int = Field(default=1, ge=0, le=1000)
    max_replicas: int = Field(ge=1, le=1000)
    initial_replicas: int | None = Field(default=None, ge=0, le=1000)
    upscale_delay_s: float = Field(default=2.0, ge=0, le=_LONGEST_S)
    downscale_delay_s: float = Field(default=120.0, ge=0, le=_LONGEST_S)
    downscale_to_zero_delay_s: float = Field(default=600.0, ge=0, le=_LONGEST_S)
    look_back_s: float = Field(default=2.0, gt=0, le=600)
    target_load: float | None = Field(default=None, gt=0, le=1)
    target_wait_s: float | None = Field(default=None, gt=0, le=_LONGEST_S)

    @property
    def first(self) -> int:
        """Replicas to start with."""
        return self.min_replicas if self.initial_replicas is None else self.initial_replicas

    def targets(self, queue: QueueClass) -> Targets:
        """Of the language model that makes requests of this class."""
        usual = Targets.usual(queue)
        return Targets(
            usual.target_load if self.target_load is None else self.target_load,
            usual.target_wait_s if self.target_wait_s is None else self.target_wait_s,
        )

    @model_validator(mode="after")
    def _in_order(self) -> AutoscalingSettings:
        if not self.min_replicas <= self.first <= self.max_replicas:
            raise ValueError(
                f"min_replicas ({self.min_replicas}), initial_replicas ({self.first}) and max_replicas "
                f"({self.max_replicas}) have to be in this order"
            )
        if self.upscale_delay_s > self.downscale_delay_s:
            raise ValueError(
                f"upscale_delay_s ({self.upscale_delay_s:g}) is more than downscale_delay_s "
                f"({self.downscale_delay_s:g}): it would come and go; set the second one higher"
            )
        return self
