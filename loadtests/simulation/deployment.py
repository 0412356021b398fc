"""Serve's own part in autoscaling: its delays and bounds around a policy, and its default policy.

The functions are Serve's. Its wrapper is not, since that reads the clock; a test holds this one against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ray.serve.autoscaling_policy import (
    _apply_delay_logic,
    _apply_scaling_factors,
    _get_cold_start_scale_up_replicas,
    default_autoscaling_policy,
)
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from loadtests.simulation.scaler import Observed, Scaler


class ServeScaler:
    """`decide`, within what `options` set: Serve's AutoscalingConfig."""

    def __init__(self, decide: Callable[[Observed], float], options: Mapping[str, Any]) -> None:
        self._decide = decide
        self._config = AutoscalingConfig(**options)
        self._state: dict[str, Any] = {}

    def __call__(self, observed: Observed) -> int:
        least, most = int(self._config.min_replicas), int(self._config.max_replicas)
        return max(least, min(most, self._unbounded(observed)))

    def _unbounded(self, observed: Observed) -> int:
        context = context_of(observed, self._config, self._state)
        cold_start = _get_cold_start_scale_up_replicas(context)
        if cold_start is not None:
            return int(cold_start)
        desired = _apply_scaling_factors(self._decide(observed), observed.replicas, self._config)
        if observed.replicas == 0 and desired > 0:
            return int(desired)
        decided, self._state = _apply_delay_logic(
            max(0, desired), observed.target, self._config, self._state, _now=observed.now_s
        )
        return int(decided)


def rays_default(options: Mapping[str, Any]) -> Scaler:
    """Serve without a policy of ours: requests against target_ongoing_requests."""
    config = AutoscalingConfig(**options)

    def decide(observed: Observed) -> float:
        desired, _ = default_autoscaling_policy(context_of(observed, config, {}))
        return float(desired)

    return ServeScaler(decide, options)


def context_of(observed: Observed, config: AutoscalingConfig, state: Mapping[str, Any]) -> AutoscalingContext:
    """What Serve hands to a policy; requests that wait are at their callers."""
    return AutoscalingContext(
        deployment_id=None,
        deployment_name="language-model",
        app_name=None,
        current_num_replicas=observed.replicas,
        target_num_replicas=observed.target,
        running_replicas=[],
        total_num_requests=observed.in_use + observed.waiting,
        total_queued_requests=observed.waiting,
        aggregated_metrics={},
        raw_metrics={},
        capacity_adjusted_min_replicas=config.min_replicas,
        capacity_adjusted_max_replicas=config.max_replicas,
        policy_state=dict(state),
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=observed.now_s,
        config=config,
    )
