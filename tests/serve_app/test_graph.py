"""The graph: what settings become before anything starts."""

from __future__ import annotations

from typing import Any

from ray.serve import Application, Deployment

from deployments.language_model.cpu_share import CpuShare
from deployments.language_model.placement import OnCpu, OnGpu
from serve_app.graph import build

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
