"""A fleet of nodes, and a service deployed to it by `serve deploy`, as on a cluster."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from deployments.paths import ROOT
from loadtests.fleet.kinds import KINDS, Kind
from loadtests.measuring.running import free_port
from serve_app.proxy.flow_control import PROXY_ENVIRONMENT

# A connection of its own for each node's worker processes takes a while on a small machine.
_DEPLOY_S = 120


class FleetError(Exception):
    """The fleet can't be what was asked; one sentence."""


@dataclass(frozen=True)
class Node:
    """A node that was added, up or not. raylet: its process, whose children are the node's others."""

    node_id: str
    kind: Kind
    raylet: psutil.Process

    def replicas(self, deployment: str) -> list[psutil.Process]:
        """Processes of a deployment's replicas that are on it."""
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):  # any may end while they are looked at
            for process in self.raylet.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    # ray::ServeReplica:APPLICATION:DEPLOYMENT, with what it is at now and then behind a dot.
                    title = "".join(process.cmdline()[:1])
                    if "ServeReplica" in title and title.rpartition(":")[2].partition(".")[0] == deployment:
                        found.append(process)
        return found

    def kill(self) -> None:
        """All its processes at once: the power is cut. Of a node that is gone nothing is left to kill."""
        everybody = []
        with contextlib.suppress(psutil.NoSuchProcess):
            everybody = [self.raylet, *self.raylet.children(recursive=True)]
        for process in everybody:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)


class Fleet:
    """A head without work, to begin with. dashboard: where `serve deploy` goes. folder: for Ray, and its logs.
    environment: of its processes.
    """

    def __init__(self, driver: subprocess.Popen[str], folder: Path, environment: Mapping[str, str]) -> None:
        self._driver = driver
        self._environment = environment
        self.folder = folder
        said = self._answer()
        self.gcs_address: str = said["gcs_address"]
        self.dashboard = f"http://{said['dashboard']}"
        self.nodes: list[Node] = []
        self._client = httpx.Client(base_url=self.dashboard, timeout=10, trust_env=False)

    def add(self, kind: str) -> Node:
        """Another node, once it is up."""
        assert self._driver.stdin is not None
        self._driver.stdin.write(f"add {kind}\n")
        self._driver.stdin.flush()
        said = self._answer()
        node = Node(said["node_id"], KINDS[kind], psutil.Process(said["raylet_pid"]))
        self.nodes.append(node)
        return node

    def of(self, kind: str) -> list[Node]:
        return [node for node in self.nodes if node.kind.name == kind]

    def deploy(self, file: Path) -> None:
        """Raises: FleetError when it is refused."""
        command = [sys.executable, "-m", "ray.serve.scripts", "deploy", str(file), "--address", self.dashboard]
        done = subprocess.run(  # noqa: S603 - Ray's own
            command, env=self._environment, capture_output=True, text=True, timeout=_DEPLOY_S, check=False
        )
        if done.returncode:
            raise FleetError(f"serve deploy failed: {done.stderr[-2000:]}")

    def deployments(self, application: str) -> dict[str, dict[str, Any]]:
        """By name, what Serve says of each: `status`, `target_num_replicas`, `replicas` …; none before it is built."""
        answer = self._client.get("/api/serve/applications/")
        answer.raise_for_status()
        applications: Mapping[str, Any] = answer.json()["applications"]
        found: dict[str, dict[str, Any]] = applications.get(application, {}).get("deployments", {})
        return found

    def logs(self, deployment: str, application: str) -> list[Path]:
        """Of the deployment's replicas, those that are gone too."""
        return sorted(self.folder.glob(f"ray/session_latest/logs/serve/replica_{application}_{deployment}_*.log"))

    def close(self) -> None:
        self._client.close()

    def _answer(self) -> dict[str, Any]:
        assert self._driver.stdout is not None
        line = self._driver.stdout.readline()
        if not line:
            raise FleetError(f"the nodes' driver ended; its log: {(self.folder / 'driver.log').read_text()[-2000:]}")
        said: dict[str, Any] = json.loads(line)
        return said


@contextlib.contextmanager
def fleet(environment: Mapping[str, str] | None = None, folder: Path | None = None) -> Iterator[Fleet]:
    """Ends with all its nodes. environment: added to that of all processes on them. folder: an empty one that somebody
    else removes, with a short path for the names of sockets; None: one of its own.
    """
    with contextlib.ExitStack() as stack:
        if folder is None:
            short = tempfile.TemporaryDirectory(prefix="fleet-", dir="/tmp", ignore_cleanup_errors=True)
            folder = Path(stack.enter_context(short))
        command = [sys.executable, "-m", "loadtests.fleet.deployment", str(free_port())]
        ray = {"RAY_TMPDIR": str(folder), "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
        inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        everybodys = {**inherited, **PROXY_ENVIRONMENT, **ray, **(environment or {})}
        with (folder / "driver.log").open("w", encoding="utf-8") as log:
            driver = subprocess.Popen(  # noqa: S603 - our own module
                command,
                cwd=ROOT,
                env=everybodys,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is for whoever shows something with it to answer
            )
        try:
            started = Fleet(driver, folder, everybodys)
            try:
                yield started
            finally:
                started.close()
        finally:
            _end(driver)


def _end(driver: subprocess.Popen[str]) -> None:
    """Of the driver and of all that it started, each by its own id."""
    started = psutil.Process(driver.pid).children(recursive=True) if driver.poll() is None else []
    with contextlib.suppress(subprocess.TimeoutExpired):
        driver.communicate(timeout=30)
    driver.kill()
    driver.wait()
    for process in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
