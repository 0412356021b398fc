"""A real service: the application of graph.py on a Ray of its own, with a tiny model, behind Serve's proxy."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray
from ray import serve
from ray.serve.handle import DeploymentHandle

from serve_app.api.credit import PROXY_ENVIRONMENT
from serve_app.graph import build
from tests.tiny import tiny_checkpoint

APP = "test"
SLOTS = 4
MAX_QUEUED = 8


@dataclass(frozen=True)
class RunningService:
    """url: of the proxy, without a final slash. handle: by deployment name."""

    url: str
    handle: Callable[[str], DeploymentHandle]

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=120, trust_env=False)


def settings(source: Path, **model: object) -> dict[str, Any]:
    return {
        "default_model": "tiny",
        "cache": {"store": {"kind": "folder", "folder": str(source.parent / "cache")}},
        "records": {"url": f"sqlite:///{source.parent}/records.sqlite"},
        "models": {
            "tiny": {"source": str(source), "license": "CC0-1.0", "slots": SLOTS, "max_queued": MAX_QUEUED, **model}
        },
    }


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Ray and a Serve of this test run alone; gives the port Serve listens on."""
    port = free_port()
    ray.init(
        address="local",
        namespace="serve",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=120 * 2**20,
    )
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port, "request_timeout_s": 120})
        yield port
    finally:
        serve.shutdown()
        ray.shutdown()


@pytest.fixture(scope="session")
def service(ray_cluster: int, tmp_path_factory: pytest.TempPathFactory) -> RunningService:
    folder = tiny_checkpoint(tmp_path_factory.mktemp("service") / "tiny", ratios=(4, 4, 4, 5))
    serve.run(build(settings(folder)), name=APP, route_prefix="/")
    return RunningService(f"http://127.0.0.1:{ray_cluster}", lambda name: serve.get_deployment_handle(name, APP))


os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.update(PROXY_ENVIRONMENT)
