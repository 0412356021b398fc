"""What can't work on this machine is said before anything starts."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from serve_app.launcher.deploy_file import Application, DeployFile
from serve_app.launcher.service import PreflightError, check, check_resources
from serve_app.settings.application import Settings


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return int(port)


@pytest.fixture
def file(tmp_path: Path, free_port: int) -> DeployFile:
    model = {"source": str(tmp_path), "license": "CC0-1.0", "max_duration_ms": 5000}
    settings = Settings.model_validate({"models": {"m": model}, "default_model": "m"})
    content = {"http_options": {"host": "127.0.0.1", "port": free_port}}
    return DeployFile(Path("x.yaml"), content, (Application("default", "/", settings),))


def test_a_file_that_can_be_deployed_passes(file: DeployFile) -> None:
    check(file, duration_ms=5000)
    check_resources(file, num_cpus=1, num_gpus=0, memory_bytes=0)


def test_a_port_in_use_is_named_with_a_way_out(file: DeployFile) -> None:
    said = rf"^port {file.port} on 127.0.0.1 is in use; .* make run PORT={file.port + 1}$"
    with socket.create_server(("127.0.0.1", file.port)), pytest.raises(PreflightError, match=said):
        check(file, duration_ms=1000)
    check(file, duration_ms=1000)


def test_a_missing_checkpoint_is_named(file: DeployFile, tmp_path: Path) -> None:
    tmp_path.rmdir()
    with pytest.raises(PreflightError, match=f"the model m has its checkpoint in {tmp_path}, which is no folder"):
        check(file, duration_ms=1000)


def test_a_clip_longer_than_the_model_makes_is_refused(file: DeployFile) -> None:
    with pytest.raises(PreflightError, match=r"DURATION is 5\.001 s; the model m makes 5 s at most"):
        check(file, duration_ms=5001)


def with_models(file: DeployFile, **models: dict[str, object]) -> DeployFile:
    written = {name: {"source": "./x", "license": "CC0-1.0", **model} for name, model in models.items()}
    settings = Settings.model_validate({"models": written, "default_model": next(iter(models))})
    return replace(file, applications=(replace(file.applications[0], settings=settings),))


def test_more_gpus_or_cores_than_there_are_are_refused(file: DeployFile) -> None:
    model: dict[str, object] = {"placement": {"kind": "gpu", "fraction": 0.75}}
    wanting = with_models(file, m=model, n=model)
    with pytest.raises(PreflightError, match=r"x.yaml sets aside 1.5 GPUs for its replicas; this machine has 1"):
        check_resources(wanting, num_cpus=8, num_gpus=1, memory_bytes=0)
    with pytest.raises(PreflightError, match=r"x.yaml sets aside 1.2 cores for its replicas; this machine has 1"):
        check_resources(wanting, num_cpus=1, num_gpus=2, memory_bytes=0)


def test_weights_that_may_take_more_than_the_machines_memory_are_refused(file: DeployFile) -> None:
    offloaded = {"kind": "offloaded", "max_memory": {"cpu": "6GB"}}
    two = with_models(file, m={"placement": offloaded, "language_model": {"num_replicas": 2}})
    with pytest.raises(PreflightError, match=r"x.yaml sets aside 12 GB of memory for its replicas; this machine has 8"):
        check_resources(two, num_cpus=8, num_gpus=0, memory_bytes=8 * 10**9)
    check_resources(two, num_cpus=8, num_gpus=0, memory_bytes=16 * 10**9)
