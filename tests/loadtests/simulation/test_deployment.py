"""Serve's part in the simulator is Serve's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import ray.serve.autoscaling_policy as serves
from ray.serve.config import AutoscalingConfig

from loadtests.simulation.deployment import ServeScaler, context_of
from loadtests.simulation.scaler import Observed, ours
from serve_app.scaling.policy import Targets


@pytest.mark.parametrize("least", [0, 1])
@pytest.mark.parametrize("seed", range(3))
def test_it_decides_as_serves_wrapper_around_the_same_policy(
    least: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    options = {"min_replicas": least, "max_replicas": 9, "upscale_delay_s": 20, "downscale_delay_s": 50}
    config, decide = AutoscalingConfig(**options), ours(Targets(0.7, 5))
    scaler, state, target = ServeScaler(decide, options), {}, least
    wrapped = serves._apply_autoscaling_config(lambda context: (decide(observed), {}))
    decisions = set()
    for i in range(400):
        busy = rng.uniform(0, 60) * (np.sin(i / 20) > -0.5)
        observed = Observed(10.0 * i, int(rng.integers(0, target + 1)), target, 8, busy, busy / 2, 5 * busy, busy, 20.0)
        monkeypatch.setattr(serves.time, "time", lambda now_s=observed.now_s: now_s)
        decided, state = wrapped(context_of(observed, config, state))
        target = scaler(observed)
        assert target == max(least, min(9, math.ceil(decided)))
        decisions.add(target)
    assert {least, 9} <= decisions
