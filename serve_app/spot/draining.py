"""Finds this machine's Ray node, and drains it through Ray: nothing new is placed there, and Serve moves its replicas.

The node is found by its raylet's process, as Ray itself does it (`ray._private.services`). Ray is called by a standby
process (`deployment.py`) that is started before it is needed, as a node that is to end is busy and a start takes long.
It can be killed when it hangs.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

import psutil

_NODE_ID = "--node_id="
_GCS_ADDRESS = "--gcs-address="


class NodeError(Exception):
    """There is no such node here, or more than one; one sentence that says what would be right."""


@dataclass(frozen=True)
class Node:
    """node_id: in hex. gcs_address: HOST:PORT of the cluster's control service. raylet: the node's process."""

    node_id: str
    gcs_address: str
    raylet: psutil.Process

    def is_alive(self) -> bool:
        """Whether its raylet has not ended. One that its parent has not waited for yet has ended too."""
        try:
            return bool(self.raylet.is_running() and self.raylet.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False


def find_node(node_id: str | None) -> Node:
    """Returns the machine's only node, or the one of this id. Raises: NodeError."""
    nodes = list(_nodes())
    if node_id is not None:
        nodes = [node for node in nodes if node.node_id == node_id]
    if not nodes:
        which = "no Ray node of that id" if node_id else "no Ray node"
        raise NodeError(
            f"{which} runs here that this process could see: start it where `ray start` ran, in the same container "
            "and as the same user"
        )
    if len(nodes) > 1:
        raise NodeError(f"{len(nodes)} Ray nodes run on this machine: say which one is meant with --node-id")
    return nodes[0]


def _nodes() -> Iterator[Node]:
    for process in psutil.process_iter():
        # A process may end meanwhile, and some may not be inspected.
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.name() == "raylet":
                words = process.cmdline()
                node_id, gcs_address = _value(words, _NODE_ID), _value(words, _GCS_ADDRESS)
                if node_id and gcs_address:
                    yield Node(node_id, gcs_address, process)


def _value(words: list[str], option: str) -> str:
    return next((word.removeprefix(option) for word in words if word.startswith(option)), "")


STANDBY = (sys.executable, "-m", "serve_app.spot.deployment")
# Enough to start the process first on a machine with ten busy processes for each core; two attempts fit into EC2's
# two minutes.
ATTEMPT_TIMEOUT_S = 45.0
_SAID_BYTES = 300


class DrainError(Exception):
    """Ray did not accept the request; one sentence, with the end of the process's output."""


def check_ray() -> None:
    """Raises: DrainError when Ray isn't installed where this Python looks."""
    if importlib.util.find_spec("ray") is None:
        raise DrainError(f"Ray is not installed for {sys.executable}: start this with the Python that runs Ray")


class Drainer:
    """Drains nodes by the standby process, which `aclose` ends. standby: the command that starts it."""

    def __init__(self, standby: Sequence[str] = STANDBY, timeout_s: float = ATTEMPT_TIMEOUT_S) -> None:
        self._standby = standby
        self._timeout_s = timeout_s
        self._process: Process | None = None
        self._log: IO[bytes] | None = None

    async def start(self) -> None:
        """Starts the process if it does not run, without waiting until it is ready. Raises: DrainError."""
        if self._process is not None and self._process.returncode is None:
            return
        await self.aclose()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - `aclose` closes it
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._standby, stdin=PIPE, stdout=PIPE, stderr=self._log
            )
        except OSError as error:
            raise DrainError(f"{self._standby[0]} can't be started: {error.strerror}") from error

    async def drain(self, node: Node, message: str, remaining_s: float | None) -> None:
        """Returns once Ray has accepted the request. remaining_s: until the node's end; None: unknown.

        Raises: DrainError. The process is ended when the call is cancelled or no answer comes.
        """
        # 0 means no deadline to Ray.
        deadline_ms = 0 if remaining_s is None else round(1000 * (time.time() + max(1.0, remaining_s)))
        request = {
            "gcs_address": node.gcs_address,
            "node_id": node.node_id,
            "message": message,
            "deadline_ms": deadline_ms,
        }
        try:
            refused = await asyncio.wait_for(self._answer(request), self._timeout_s)
        except (TimeoutError, asyncio.TimeoutError) as error:
            await self.aclose()
            raise DrainError(f"Ray has not answered in {self._timeout_s:g} s") from error
        except BaseException:
            await self.aclose()
            raise
        if refused is not None:
            raise DrainError(f"Ray refuses the drain: {refused[-_SAID_BYTES:]}")

    async def aclose(self) -> None:
        """Ends the process, if there is one."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if self._log is not None:
            self._log.close()
            self._log = None

    async def _answer(self, request: Mapping[str, object]) -> str | None:
        """Returns why Ray refused; None if it accepted. Raises: DrainError where there is no answer."""
        await self.start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(ConnectionError):  # it has ended, which is seen below
            process.stdin.write(json.dumps(request).encode() + b"\n")
            await process.stdin.drain()
        while line := await process.stdout.readline():
            answer = json.loads(line)
            if answer:
                refused: str | None = answer["refused"]
                return refused
        raise DrainError(f"what asks Ray ended with status {await process.wait()}: {self._output()}")

    def _output(self) -> str:
        """The end of the process's output."""
        assert self._log is not None
        self._log.seek(0)
        return self._log.read().decode(errors="replace").strip()[-_SAID_BYTES:]
