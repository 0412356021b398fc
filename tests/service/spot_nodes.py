"""The service on a head and two GPU nodes, one of them spot: real Ray nodes, whose GPUs are a number only.

As `nodes`, a process of its own keeps them: `spot_nodes` starts this module, which answers a word a line (`_Driver`)
with one of JSON, and ends the nodes when its input ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import ray
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve import Application, Deployment

from deployments.checkpoints.root import ROOT
from serve_app import graph
from tests.ports import free_port
from tests.service.conftest import REQUEST_TIMEOUT_S, recorded_build, settings
from tests.service.nodes import MARKET, alive, node_id
from tests.service.recorded import FILE_VARIABLE, RecordedLanguageModel

SPOT, ON_DEMAND = {MARKET: "spot"}, {MARKET: "on-demand"}
CPU_GROUP = {"ray.io/node-group": "cpu"}
_APP = "spot"
_TITLE = f"ServeReplica:{_APP}:tiny-language-model"
_MEMORY = 100 * 2**20  # of each node's object store
# What a replica has begun is longer than this, so that it ends elsewhere.
_GRACE_S = 0.1


@dataclass(frozen=True)
class SpotNodes:
    """frames: see `recorded`. driver: the process that keeps the nodes. log: of its own output."""

    url: str
    frames: Path
    driver: subprocess.Popen[str]
    log: Path

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=REQUEST_TIMEOUT_S, trust_env=False)

    def ask(self, *words: str) -> Any:
        """What a method of `_Driver` returns. Raises: RuntimeError with the end of its log when it fails."""
        assert self.driver.stdin is not None
        self.driver.stdin.write(" ".join(words) + "\n")
        self.driver.stdin.flush()
        return _answer(self.driver, self.log)

    def language_models(self) -> dict[str, int]:
        """By node, the process of its replica."""
        found = {}
        for raylet in psutil.Process(self.driver.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # any may end while they are looked at
                for process in raylet.children(recursive=True):
                    if any(_TITLE in word for word in process.cmdline()):
                        found[node_id(raylet)] = process.pid
        return found


@contextlib.contextmanager
def spot_nodes(folder: Path, frames: Path) -> Iterator[SpotNodes]:
    """The service, once it is up with a language model on each of the two GPUs."""
    log = folder / "driver.log"
    with tempfile.TemporaryDirectory(prefix="nodes-") as short, log.open("w") as out:
        environment = {**os.environ, FILE_VARIABLE: str(frames), "RAY_TMPDIR": short}  # sockets' names must be short
        driver = subprocess.Popen(
            [sys.executable, "-m", "tests.service.spot_nodes", str(folder)],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out, text=True,
        )  # fmt: skip
        try:
            yield SpotNodes(_answer(driver, log), frames, driver, log)
        finally:
            _end(driver)


def _answer(driver: subprocess.Popen[str], log: Path) -> Any:
    assert driver.stdout is not None
    answer = driver.stdout.readline()
    if not answer:
        raise RuntimeError(f"the nodes' driver ended:\n{log.read_text()[-3000:]}")
    return json.loads(answer)


def _end(driver: subprocess.Popen[str]) -> None:
    """Of the driver and of all that it started, each by its own id."""
    started = psutil.Process(driver.pid).children(recursive=True) if driver.poll() is None else []
    with contextlib.suppress(subprocess.TimeoutExpired):
        driver.communicate(timeout=30)
    driver.kill()
    driver.wait()
    for process in filter(alive, started):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


class _Driver:
    """What the words do."""

    def __init__(self) -> None:
        head = {"num_cpus": 1, "labels": {**ON_DEMAND, **CPU_GROUP}, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args={**head, "object_store_memory": _MEMORY})
        self._gcs = ray._raylet.GcsClient(address=self.cluster.address)
        self._first = {market: self.add(market) for market in ("spot", "on-demand")}

    def add(self, market: str) -> str:
        """A node with a GPU; returns its id."""
        node = self.cluster.add_node(
            num_cpus=1, num_gpus=1, labels={MARKET: market}, object_store_memory=_MEMORY, wait=True
        )
        return str(node.node_id)

    def first(self, market: str) -> str:
        """The node that was there from the start."""
        return self._first[market]

    def draining(self) -> dict[str, float]:
        """By node that drains, its deadline in seconds since 1970."""
        return {node: deadline_ms / 1000 for node, deadline_ms in self._gcs.get_draining_nodes().items()}

    def death(self, node: str) -> list[str]:
        """Why it died, as Ray knows it: a reason and a message; empty while it lives."""
        info = next(info for each, info in self._gcs.get_all_node_info().items() if each.hex() == node)
        death = info.death_info
        return [] if info.state == info.ALIVE else [death.Reason.Name(death.reason), death.reason_message]


def _on_gpus(args: dict[str, Any]) -> Application:
    """The application, whose language models ask Ray for a GPU and compute on their node's CPU."""
    plain = graph._deployment

    def placed(plain_class: type, *arguments: Any, **options: Any) -> Deployment:
        if plain_class is RecordedLanguageModel:
            options["num_gpus"] = 1
        return plain(plain_class, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "_deployment", placed)
        patch.setattr(graph, "GRACEFUL_SHUTDOWN_TIMEOUT_S", _GRACE_S)
        return recorded_build(args)


def _settings(folder: Path) -> dict[str, Any]:
    """The CPU of a GPU node is its language model's, and all else is on the head."""
    model = {name: {"num_cpus": 0.1, "nodes": [CPU_GROUP]} for name in ("text_encoder", "codec_decoder")}
    language_model = {"num_replicas": 2, "num_cpus": 1, "nodes": [SPOT, ON_DEMAND]}
    args = settings(ROOT / "etude" / "checkpoint", folder, language_model=language_model, **model)
    others = {name: {**args[name], "nodes": [CPU_GROUP]} for name in ("ingress", "pipeline")}
    return {**args, **others, "cpu_util_target": 0.5}


def main(folder: Path) -> None:
    """Answers with the URL once the service is up, and to each line once it is done."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    driver, port = _Driver(), free_port()
    try:
        ray.init(address=driver.cluster.address, namespace="serve", log_to_driver=False)
        http_options = {"host": "127.0.0.1", "port": port, "request_timeout_s": REQUEST_TIMEOUT_S}
        serve.start(proxy_location="HeadOnly", http_options=http_options)
        serve.run(_on_gpus(_settings(folder)), name=_APP, route_prefix="/")
        print(json.dumps(f"http://127.0.0.1:{port}"), file=answers)
        for line in sys.stdin:
            word, *words = line.split()
            print(json.dumps(getattr(driver, word)(*words)), file=answers)
    finally:
        ray.shutdown()
        driver.cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
