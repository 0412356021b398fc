"""The application graph that settings become, before anything starts."""

from __future__ import annotations

from typing import Any

from ray.serve import Application, Deployment

from deployments.language_model.placement import CpuShare, OnCpu, OnGpu
from serve_app.graph import build
from serve_app.pipeline.deployment import ModelHandles

MODEL: dict[str, Any] = {"source": "./somewhere", "license": "CC0-1.0"}
MODELS = {
    "small": MODEL | {"language_model": {"num_replicas": 2, "num_cpus": 0.5}},
    "medium": MODEL | {"placement": {"kind": "gpu", "fraction": 0.25, "memory": "20GB"}},
}


def deployments(application: Application) -> dict[str, Deployment]:
    """All that the application reaches, by name."""
    found: dict[str, Deployment] = {}
    waiting: list[object] = [application]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Application):
            deployment = one._bound_deployment
            found[deployment.name] = deployment
            waiting += [*deployment.init_args, *deployment.init_kwargs.values()]
        elif isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, ModelHandles):
            waiting += one.all()
        elif isinstance(one, tuple | list):
            waiting += one
    return found


def test_a_language_model_gets_its_placement_and_rays_share_of_it() -> None:
    found = deployments(build({"models": MODELS, "default_model": "small", "cpu_util_target": 0.5}))
    small, medium = (found[f"{name}-language-model"] for name in MODELS)
    assert small.init_kwargs["placement"] == OnCpu()
    assert small.init_kwargs["cpu_share"] == CpuShare(0.5, 0.5, (0.5,))
    assert medium.init_kwargs["placement"] == OnGpu(0.25, 20 * 10**9)
    assert small.ray_actor_options["num_gpus"] == 0
    assert medium.ray_actor_options["num_gpus"] == 0.25


def test_nothing_else_takes_a_gpu() -> None:
    found = deployments(build({"models": MODELS, "default_model": "small"}))
    assert len(found) == 8
    assert {name for name, each in found.items() if each.ray_actor_options.get("num_gpus")} == {"medium-language-model"}


POOLS: dict[str, Any] = {
    "language_model": {
        "nodes": [{"ray.io/market-type": "on-demand"}],
        "autoscaling": {"min_replicas": 1, "max_replicas": 8, "downscale_delay_s": 30},
    },
    "batch_language_model": {
        "nodes": [{"ray.io/market-type": "spot"}, {"ray.io/market-type": "on-demand"}],
        "autoscaling": {"min_replicas": 0, "max_replicas": 20, "target_wait_s": 300},
    },
}


def test_each_queue_class_may_have_language_models_of_its_own_on_nodes_of_their_own() -> None:
    found = deployments(build({"models": {"small": MODEL | POOLS}, "default_model": "small"}))
    realtime, batch = found["small-language-model"], found["small-batch-language-model"]
    assert (realtime.init_kwargs.pop("pool"), batch.init_kwargs.pop("pool")) == ("realtime", "batch")
    assert realtime.init_kwargs == batch.init_kwargs, "but for their names in metrics and where they are"
    assert realtime.ray_actor_options["label_selector"] == {"ray.io/market-type": "on-demand"}
    assert realtime.ray_actor_options["fallback_strategy"] == []
    assert batch.ray_actor_options["label_selector"] == {"ray.io/market-type": "spot"}
    fallback = [{"label_selector": {"ray.io/market-type": "on-demand"}}]
    assert batch.ray_actor_options["fallback_strategy"] == fallback
    assert (realtime.user_config, batch.user_config) == (
        {"target_load": 0.7, "target_wait_s": 1.0},
        {"target_load": 1.0, "target_wait_s": 300.0},
    )


def test_where_anything_scales_the_policy_sees_all_deployments_and_fixed_ones_stay() -> None:
    found = deployments(build({"models": {"small": MODEL | POOLS}, "default_model": "small"}))
    scaling = {name: each._deployment_config.autoscaling_config for name, each in found.items()}
    bounds = {name: (each.min_replicas, each.initial_replicas, each.max_replicas) for name, each in scaling.items()}
    fixed = (1, 1, 1)
    assert bounds == {
        "ingress": fixed,
        "pipeline": fixed,
        "small-text-encoder": fixed,
        "small-codec-decoder": fixed,
        "small-language-model": (1, 1, 8),
        "small-batch-language-model": (0, 0, 20),
    }
    plain = deployments(build({"models": MODELS, "default_model": "small"}))
    assert not any(each._deployment_config.autoscaling_config for each in plain.values())
