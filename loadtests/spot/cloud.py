"""The cloud of a fleet on this machine: it gives its spot nodes notice, and takes them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from deployments.paths import ROOT
from loadtests.fleet.fleet import Node
from loadtests.fleet.metadata_server import MetadataServer, metadata_server

POLL_S = 1.0
# Before the announced end Ray is to be done.
MARGIN_S = 3.0


@contextlib.contextmanager
def watched(
    nodes: Sequence[Node], folder: Path, environment: Mapping[str, str]
) -> Iterator[Mapping[str, MetadataServer]]:
    """By node id the metadata server of each, which a watcher asks that runs beside the node as on a real one.

    folder: for the watchers' logs. environment: added to this process's.
    """
    with contextlib.ExitStack() as stack:
        servers = {node.node_id: stack.enter_context(metadata_server()) for node in nodes}
        for node_id, server in servers.items():
            stack.enter_context(_watcher(node_id, server.url, folder / f"spot-{node_id[:8]}.log", environment))
        yield servers


@contextlib.contextmanager
def _watcher(node_id: str, url: str, log: Path, environment: Mapping[str, str]) -> Iterator[None]:
    command = [sys.executable, "-m", "serve_app.cli.main", "node", "watch", "--node-id", node_id, "--metadata-url", url]
    command += ["--poll-s", str(POLL_S), "--margin-s", str(MARGIN_S)]
    with log.open("wb") as said:
        process = subprocess.Popen(  # noqa: S603 - our own module
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us, and we end it
        )
        try:
            yield
        finally:
            process.kill()  # most have ended with their node
            process.wait()
