"""The service on real Ray nodes: a head, on which all stays but the language models, and spot nodes, one for each.

Another Ray than the session's needs a driver of its own: `ray_nodes` starts this module as a process, which keeps the
nodes, takes one command a line (`COMMANDS`) and ends them all when its input ends. They are processes of this machine: each
raylet with its children is a node, and can be killed as one.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
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
from ray.core.generated import autoscaler_pb2
from ray.serve import Application, Deployment

from deployments.paths import ROOT
from serve_app import graph
from tests.ports import free_port
from tests.service.conftest import REQUEST_TIMEOUT_S, build_with_recording, settings
from tests.service.support.recording_model import FILE_VARIABLE, RecordingLanguageModel

_APP = "nodes"
_TITLE = f"ServeReplica:{_APP}:tiny-language-model"
MARKET = "ray.io/market-type"  # the label that clouds' nodes carry
_MEMORY = 100 * 2**20  # of each node's object store


@dataclass(frozen=True)
class RayNodes:
    """frames: see `recording_model`. driver: the process that keeps the nodes. log: of its own output."""

    url: str
    frames: Path
    driver: subprocess.Popen[str]
    log: Path

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=REQUEST_TIMEOUT_S, trust_env=False)

    def tell(self, *words: str) -> None:
        """Returns when the driver has done it. Raises: RuntimeError with the end of its log when it can't."""
        assert self.driver.stdin is not None
        self.driver.stdin.write(" ".join(words) + "\n")
        self.driver.stdin.flush()
        _answer(self.driver, self.log)

    def language_models(self) -> dict[psutil.Process, psutil.Process]:
        """Their processes, each with the raylet of its node."""
        found = {}
        for raylet in psutil.Process(self.driver.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # any may end while they are looked at
                for process in raylet.children(recursive=True):
                    if any(_TITLE in word for word in process.cmdline()):
                        found[process] = raylet
        return found


def node_id(raylet: psutil.Process) -> str:
    """As Ray names it, in hex."""
    return next(word.removeprefix("--node_id=") for word in raylet.cmdline() if word.startswith("--node_id="))


def send(raylet: psutil.Process, signal: int) -> list[psutil.Process]:
    """Sends it to all processes of a node, and returns them. Returns none if the node has ended by itself."""
    everybody = []
    with contextlib.suppress(psutil.NoSuchProcess):
        everybody = [raylet, *raylet.children(recursive=True)]
    for process in everybody:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal)
    return everybody


def alive(process: psutil.Process) -> bool:
    """Whether it has not ended. A zombie has."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextlib.contextmanager
def ray_nodes(folder: Path, frames: Path, num_spot: int, redis_address: str = "") -> Iterator[RayNodes]:
    """The service, once it is up. redis_address: of the GCS's storage; without one its tables end with it."""
    log = folder / "driver.log"
    with tempfile.TemporaryDirectory(prefix="nodes-") as short, log.open("w") as out:
        environment = {**os.environ, FILE_VARIABLE: str(frames), "RAY_TMPDIR": short}  # sockets' names must be short
        if redis_address:
            environment["RAY_REDIS_ADDRESS"] = redis_address
        command = [sys.executable, "-m", "tests.service.support.ray_nodes", str(folder), str(num_spot)]
        driver = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out, text=True
        )
        try:
            yield RayNodes(_answer(driver, log), frames, driver, log)
        finally:
            _end(driver)


def _answer(driver: subprocess.Popen[str], log: Path) -> str:
    assert driver.stdout is not None
    answer = driver.stdout.readline().strip()
    if not answer:
        raise RuntimeError(f"the nodes' driver ended:\n{log.read_text()[-3000:]}")
    return answer


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


def _placed_build(args: dict[str, Any]) -> Application:
    """The application as on a cluster of two markets: language models on spot nodes, all else on the others."""
    plain = graph._deployment

    def placed(plain_class: type, *arguments: Any, **more: Any) -> Deployment:
        deployment = plain(plain_class, *arguments, **more)
        market = "spot" if plain_class is RecordingLanguageModel else "on-demand"
        options = {**deployment.ray_actor_options, "label_selector": {MARKET: market}}
        return deployment.options(ray_actor_options=options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "_deployment", placed)
        return build_with_recording(args)


class _Driver:
    """Executes the commands."""

    def __init__(self) -> None:
        head = {"num_cpus": 1, "labels": {MARKET: "on-demand"}, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args={**head, "object_store_memory": _MEMORY})

    def add(self) -> None:
        """Another spot node."""
        self.cluster.add_node(num_cpus=1, labels={MARKET: "spot"}, object_store_memory=_MEMORY)

    def drain(self, node: str, deadline_s: str) -> None:
        """Drains a node, as after a cloud's notice: it ends at the deadline at the latest."""
        accepted, why_not = ray._raylet.GcsClient(address=self.cluster.address).drain_node(
            node,
            autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"),
            "spot notice",
            time.time_ns() // 10**6 + 1000 * int(deadline_s),
        )
        assert accepted, why_not

    def stop_gcs(self) -> None:
        self.cluster.head_node.kill_gcs_server()

    def start_gcs(self) -> None:
        self.cluster.head_node.start_gcs_server()


COMMANDS = ("add", "drain", "stop_gcs", "start_gcs")


def main(folder: Path, num_spot: int) -> None:
    """Answers with the URL once the service is up, and to each line once it is done."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # so that libraries cannot print into the answers
    driver, port = _Driver(), free_port()
    try:
        ray.init(address=driver.cluster.address, namespace="serve", log_to_driver=False)
        http_options = {"host": "127.0.0.1", "port": port, "request_timeout_s": REQUEST_TIMEOUT_S}
        serve.start(proxy_location="HeadOnly", http_options=http_options)
        for _ in range(num_spot):
            driver.add()
        # All of a spot node is one language model's, which computes with as many threads on each.
        args = settings(ROOT / "etude" / "checkpoint", folder, language_model={"num_replicas": 2, "num_cpus": 1})
        serve.run(_placed_build({**args, "cpu_util_target": 0.5}), name=_APP, route_prefix="/")
        print(f"http://127.0.0.1:{port}", file=answers)
        for line in sys.stdin:
            word, *words = line.split()
            assert word in COMMANDS, line
            getattr(driver, word)(*words)
            print("done", file=answers)
    finally:
        ray.shutdown()
        driver.cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
