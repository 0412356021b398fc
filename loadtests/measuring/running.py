"""A service of this process's own, with the embedded model: started, and ended without leaving anything behind."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deployments.paths import ROOT
from serve_app.cli.options import DEFAULT_CONFIG
from serve_app.launcher.guardian import Guardian
from serve_app.launcher.service import Service

APPLICATION = "musicgen"
MODEL = "etude"


@dataclass(frozen=True)
class Running:
    """url: without a slash at the end. logs: Ray's and the replicas'."""

    url: str
    logs: Path

    def replica_logs(self, deployment: str) -> list[Path]:
        """The logs of a deployment's replicas, those that are gone too."""
        return sorted((self.logs / "serve").glob(f"replica_{APPLICATION}_{deployment}_*.log"))


@contextmanager
def running(
    args: Mapping[str, Any],
    say: Callable[[str], None],
    *,
    others: Sequence[Mapping[str, Any]] = (),
    parent_pid: int | None = None,
) -> Iterator[Running]:
    """The application of `serve_app/configs/local.yaml` on a free port, cache and records in a folder of its own.

    args: settings in the place of the file's. say: is told how the start goes. others: applications beside it, as a
    deploy file has them. parent_pid: a process not to outlive. Raises: LaunchError where it can't be started.
    """
    folder = Path(tempfile.mkdtemp(prefix="musicgen-", dir="/tmp"))  # Ray's sockets want a short path
    with Guardian(folder, parent_pid) as guardian:
        content = yaml.safe_load((ROOT / DEFAULT_CONFIG).read_text(encoding="utf-8"))
        content["http_options"]["port"] = free_port()
        [application] = content["applications"]
        kept = {"cache": {"store": {"kind": "folder", "folder": f"{folder}/cache"}}}
        application["args"] |= {**kept, "records": {"url": f"sqlite:///{folder}/records.sqlite"}, **args}
        content["applications"] += others
        config = folder / "deploy.yaml"
        config.write_text(yaml.safe_dump(content), encoding="utf-8")
        service = Service(config, None, 1, folder, guardian.environment)
        yield Running(service.wait_until_ready(say), service.logs)


def free_port() -> int:
    """A free port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
