"""How many replicas a deployment has as its work comes and goes: what an operator may set.

How many replicas a deployment has, and where: what an operator may set of each.

What deployments are called: in Serve's status, in metrics, in a deploy file's `deployments`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field, model_validator

from deployments.messages import QueueClass
from deployments.scaling_stats import Targets
from serve_app.settings.strict import StrictModel

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


class ReplicaSettings(StrictModel):
    """How many replicas a deployment has, and where.

    num_replicas: always so many; or autoscaling: as many as the work needs. num_cpus: that Ray sets aside for each (a
    share for placing, not a limit). nodes: labels of the nodes they may be on, in order of preference; none: any node.
    """

    num_replicas: int = Field(default=1, ge=1)
    autoscaling: AutoscalingSettings | None = None
    num_cpus: float = Field(default=0.1, ge=0)
    nodes: Sequence[Mapping[str, str]] = ()

    @property
    def first(self) -> int:
        """Replicas to start with."""
        return self.num_replicas if self.autoscaling is None else self.autoscaling.first

    @property
    def most(self) -> int:
        """Replicas that there may come to be."""
        return self.num_replicas if self.autoscaling is None else self.autoscaling.max_replicas

    @property
    def fewest(self) -> int:
        """Replicas that there always are."""
        return self.num_replicas if self.autoscaling is None else self.autoscaling.min_replicas

    @model_validator(mode="after")
    def _is_fixed_or_scaled(self) -> ReplicaSettings:
        if self.autoscaling is not None and "num_replicas" in self.model_fields_set:
            raise ValueError("num_replicas and autoscaling exclude each other; keep one of them")
        if not all(self.nodes):
            raise ValueError("nodes has an entry without a label; leave nodes out to allow any node")
        return self


INGRESS, PIPELINE = "ingress", "pipeline"


def text_encoder(model: str) -> str:
    return f"{model}-text-encoder"


def codec_decoder(model: str) -> str:
    return f"{model}-codec-decoder"


def language_model(model: str, queue: QueueClass = "realtime") -> str:
    """The one that makes `realtime` requests has no mark, since it often makes all."""
    return f"{model}-batch-language-model" if queue == "batch" else f"{model}-language-model"


def language_models(pools: Mapping[str, Sequence[QueueClass]]) -> list[str]:
    """pools: by model, the queue classes that have language models of their own."""
    return [language_model(model, queue) for model, queues in pools.items() for queue in queues]


def all_of(pools: Mapping[str, Sequence[QueueClass]]) -> list[str]:
    """Of the whole application."""
    beside = [name(model) for model in pools for name in (text_encoder, codec_decoder)]
    return [INGRESS, PIPELINE, *language_models(pools), *beside]
