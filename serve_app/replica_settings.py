"""How many replicas a deployment has, and where: what an operator may set of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field, model_validator

from serve_app.scaling.settings import AutoscalingSettings
from serve_app.strict import StrictModel


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
