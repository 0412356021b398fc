"""The settings of one deployment's replicas, and the deployments' names in Serve's status and in metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field, model_validator

from deployments.messages import QueueClass
from deployments.scaling_stats import Targets
from serve_app.settings import StrictModel

_LONGEST_S = 24 * 3600.0


class AutoscalingSettings(StrictModel):
    """Bounds and delays, which Serve applies, and the targets of the policy within them (`scaling/policy.py`)."""

    min_replicas: int = Field(default=1, ge=0, le=1000)
    """Fewest replicas; with 0 an idle language model has none, and the next request waits until one has started."""
    max_replicas: int = Field(ge=1, le=1000)
    """Most replicas."""
    initial_replicas: int | None = Field(default=None, ge=0, le=1000)
    """Replicas to start with; null is `min_replicas`."""
    upscale_delay_s: float = Field(default=2.0, ge=0, le=_LONGEST_S)
    """Seconds for which more replicas must be needed before they are added."""
    downscale_delay_s: float = Field(default=120.0, ge=0, le=_LONGEST_S)
    """Seconds for which fewer replicas must suffice before some are removed."""
    downscale_to_zero_delay_s: float = Field(default=600.0, ge=0, le=_LONGEST_S)
    """Seconds for which no replica must be needed before the last one is removed."""
    look_back_s: float = Field(default=2.0, gt=0, le=600)
    """Seconds over which the load is averaged."""
    target_load: float | None = Field(default=None, gt=0, le=1)
    """The share of a language model's slots and throughput that should be in use; null is 0.7 for `realtime` and 1 for
    `batch`."""
    target_wait_s: float | None = Field(default=None, gt=0, le=_LONGEST_S)
    """Seconds that work may wait for a slot of a language model; null is 1 for `realtime` and 60 for `batch`."""

    @property
    def first(self) -> int:
        """Replicas to start with."""
        return self.min_replicas if self.initial_replicas is None else self.initial_replicas

    def targets(self, queue: QueueClass) -> Targets:
        """The targets of the language model for this queue class."""
        usual = Targets.usual(queue)
        return Targets(
            usual.target_load if self.target_load is None else self.target_load,
            usual.target_wait_s if self.target_wait_s is None else self.target_wait_s,
        )

    @model_validator(mode="after")
    def _numbers_agree(self) -> AutoscalingSettings:
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
    """How many replicas a deployment has, and where."""

    num_replicas: int = Field(default=1, ge=1)
    """A fixed number of replicas; not together with `autoscaling`."""
    autoscaling: AutoscalingSettings | None = None
    """As many replicas as the load needs, within bounds; null is a fixed number."""
    num_cpus: float = Field(default=0.1, ge=0)
    """Cores that Ray reserves for each replica; they decide where it is placed and limit nothing."""
    nodes: Sequence[Mapping[str, str]] = ()
    """Labels of the nodes that replicas may be on, in order of preference; an empty list is any node."""

    @property
    def first(self) -> int:
        """Replicas to start with."""
        return self.num_replicas if self.autoscaling is None else self.autoscaling.first

    @property
    def most(self) -> int:
        """Most replicas."""
        return self.num_replicas if self.autoscaling is None else self.autoscaling.max_replicas

    @property
    def fewest(self) -> int:
        """Fewest replicas."""
        return self.num_replicas if self.autoscaling is None else self.autoscaling.min_replicas

    @model_validator(mode="after")
    def _is_fixed_or_scaled(self) -> ReplicaSettings:
        if self.autoscaling is not None and "num_replicas" in self.model_fields_set:
            raise ValueError("num_replicas and autoscaling exclude each other; keep one of them")
        if not all(self.nodes):
            raise ValueError("nodes has an entry without a label; leave nodes out to allow any node")
        return self


INGRESS, PIPELINE = "ingress", "pipeline"


def text_encoder_name(model: str) -> str:
    return f"{model}-text-encoder"


def codec_decoder_name(model: str) -> str:
    return f"{model}-codec-decoder"


def language_model_name(model: str, queue: QueueClass = "realtime") -> str:
    """The one for `realtime` has no mark, since it often serves both classes."""
    return f"{model}-batch-language-model" if queue == "batch" else f"{model}-language-model"


def language_model_names(pools: Mapping[str, Sequence[QueueClass]]) -> list[str]:
    """pools: by model, the queue classes that have language models of their own."""
    return [language_model_name(model, queue) for model, queues in pools.items() for queue in queues]


def deployment_names(pools: Mapping[str, Sequence[QueueClass]]) -> list[str]:
    """The names of all deployments of the application. pools: as `language_model_names`."""
    beside = [name(model) for model in pools for name in (text_encoder_name, codec_decoder_name)]
    return [INGRESS, PIPELINE, *language_model_names(pools), *beside]
