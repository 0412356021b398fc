"""The Ray node that this machine is, by its raylet's process: as Ray finds it too (`ray._private.services`).

Draining a node through Ray: nothing new is placed there, and Serve moves what it has there.

Ray is asked by a process of its own (`deployment.py`), which is there before it is needed: a node that is to go is as
busy as ever, and starting one takes long. It can be ended when it hangs.
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
        """Its raylet hasn't ended, whether or not anybody has looked."""
        try:
            return bool(self.raylet.is_running() and self.raylet.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False


def find_node(node_id: str | None) -> Node:
    """The machine's only node, or the one of this id. Raises: NodeError."""
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
        # Any may end while it is looked at, and some are not ours to look at.
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.name() == "raylet":
                words = process.cmdline()
                node_id, gcs_address = _value(words, _NODE_ID), _value(words, _GCS_ADDRESS)
                if node_id and gcs_address:
                    yield Node(node_id, gcs_address, process)


def _value(words: list[str], option: str) -> str:
    return next((word.removeprefix(option) for word in words if word.startswith(option)), "")


STANDBY = (sys.executable, "-m", "serve_app.spot.deployment")
# Where it has to be started first, and each core has ten others to serve; two of these fit into a cloud's two minutes.
ATTEMPT_TIMEOUT_S = 45.0
_SAID_BYTES = 300


class DrainError(Exception):
    """Ray didn't take the request; one sentence, with the end of what was said of it."""


def check_ray() -> None:
    """Raises: DrainError when Ray isn't installed where this Python looks."""
    if importlib.util.find_spec("ray") is None:
        raise DrainError(f"Ray is not installed for {sys.executable}: start this with the Python that runs Ray")


class Drainer:
    """standby: the words that start the process that asks Ray. `aclose` ends it."""

    def __init__(self, standby: Sequence[str] = STANDBY, timeout_s: float = ATTEMPT_TIMEOUT_S) -> None:
        self._standby = standby
        self._timeout_s = timeout_s
        self._process: Process | None = None
        self._log: IO[bytes] | None = None

    async def start(self) -> None:
        """Starts the process, and doesn't wait until it is ready; of no effect while it runs. Raises: DrainError."""
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
        """Returns once Ray has taken the request. remaining_s: until the node's end; None: nobody knows.

        Raises: DrainError. Cancelled, it leaves no process, nor after an answer that did not come.
        """
        # Ray takes 0 for no deadline.
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
        """Why Ray did not take it; None: it did. Raises: DrainError where there is no answer."""
        await self.start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(ConnectionError):  # it has ended: its output says so, too
            process.stdin.write(json.dumps(request).encode() + b"\n")
            await process.stdin.drain()
        while line := await process.stdout.readline():
            answer = json.loads(line)
            if answer:
                refused: str | None = answer["refused"]
                return refused
        raise DrainError(f"what asks Ray ended with status {await process.wait()}: {self._said()}")

    def _said(self) -> str:
        """The end of what it said."""
        assert self._log is not None
        self._log.seek(0)
        return self._log.read().decode(errors="replace").strip()[-_SAID_BYTES:]
