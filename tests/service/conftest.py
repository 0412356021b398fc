"""A real service: the application of graph.py on a Ray of its own, with a tiny model, behind Serve's proxy."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import ray
from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from etude.random_checkpoint import make_checkpoint
from serve_app import graph
from serve_app.proxy.flow_control import PROXY_ENVIRONMENT
from tests.ports import free_port
from tests.service.support.recording_model import FILE_VARIABLE, PacedLanguageModel, RecordingLanguageModel
from tests.tiny import tiny_checkpoint

APP = "test"
PAIR = "pair"
SLOTS = 4
MAX_QUEUED = 8
# As the deploy files for clusters have it; Serve's own line for each request is one more that must be whole.
LOGGING = {"encoding": "JSON"}
# Long enough on a busy machine, and shorter than a test's own timeout, so that a request that hangs is seen.
REQUEST_TIMEOUT_S = 120


@dataclass(frozen=True)
class RunningService:
    """url: without a final slash. handle: by deployment name. frames: see `recording_model`. folder: of its state."""

    url: str
    handle: Callable[[str], DeploymentHandle]
    frames: Path
    folder: Path

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=REQUEST_TIMEOUT_S, trust_env=False)


def settings(source: Path, folder: Path, number: int = 1, **model: object) -> dict[str, Any]:
    """folder: of cache and database. number: of the replicas of ingress, pipeline and language model."""
    replicas = {"num_replicas": number, "num_cpus": 0.05}
    return {
        "default_model": "tiny",
        "cache": {"store": {"kind": "folder", "folder": str(folder / "cache")}},
        "records": {"url": f"sqlite:///{folder}/records.sqlite"},
        "ingress": replicas,
        "pipeline": replicas,
        "models": {
            "tiny": {
                "source": str(source),
                "license": "CC0-1.0",
                "slots": SLOTS,
                "max_queued": MAX_QUEUED,
                "deadline_floor_s": 250,  # a loaded machine fails nobody
                "language_model": replicas,
                **model,
            }
        },
    }


def processes(app: str, deployment: str = "") -> list[psutil.Process]:
    """The processes of a deployment's replicas; of all deployments of the application, if none is named."""
    title = f"ServeReplica:{app}:{deployment}"
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it may end while it is looked at
            if any(title in word for word in child.cmdline()):
                found.append(child)
    return found


@pytest.fixture(scope="session")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file in which language models record what they make."""
    file = tmp_path_factory.mktemp("frames") / "made.txt"
    file.touch()
    return file


@pytest.fixture(scope="session")
def ray_cluster(frames: Path) -> Iterator[int]:
    """A Ray and a Serve for this test run alone; returns the port that Serve listens on."""
    port = free_port()
    os.environ[FILE_VARIABLE] = str(frames)
    ray.init(
        address="local",
        namespace="serve",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=120 * 2**20,
    )
    try:
        http = {"host": "127.0.0.1", "port": port, "request_timeout_s": REQUEST_TIMEOUT_S}
        serve.start(http_options=http, logging_config=LOGGING)
        yield port
    finally:
        serve.shutdown()
        ray.shutdown()


@pytest.fixture(scope="session")
def service(ray_cluster: int, frames: Path, tmp_path_factory: pytest.TempPathFactory) -> RunningService:
    """One replica of everything."""
    folder = tmp_path_factory.mktemp("service")
    checkpoint = tiny_checkpoint(folder / "tiny", ratios=(4, 4, 4, 5))
    serve.run(build_with_recording(settings(checkpoint, folder)), name=APP, route_prefix="/", logging_config=LOGGING)
    url = f"http://127.0.0.1:{ray_cluster}"
    return RunningService(url, lambda name: serve.get_deployment_handle(name, APP), frames, folder)


@pytest.fixture(scope="session")
def pair(ray_cluster: int, frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Two replicas of ingress, pipeline and language model. The model has the embedded one's shape, random weights that
    never change, and the pace of a larger model.
    """
    folder = tmp_path_factory.mktemp("pair")
    args = settings(make_checkpoint(folder / "model"), folder, number=2)
    serve.run(
        build_with_recording(args, PacedLanguageModel), name=PAIR, route_prefix=f"/{PAIR}", logging_config=LOGGING
    )
    url = f"http://127.0.0.1:{ray_cluster}/{PAIR}"
    yield RunningService(url, lambda name: serve.get_deployment_handle(name, PAIR), frames, folder)
    serve.delete(PAIR)


def build_with_recording(args: dict[str, Any], language_model: type = RecordingLanguageModel) -> Application:
    """The application with language models that record what they make."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "LanguageModelDeployment", language_model)
        return graph.build(args)


os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.update(PROXY_ENVIRONMENT)
