"""Draining a node through Ray: nothing new is placed there, and Serve moves what it has there (`ray drain-node`)."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Sequence

from serve_app.spot.node import Node

# Of Ray's own command, in a process of its own: it can be ended when it hangs, and this one stays small until then.
RAY = (sys.executable, "-m", "ray.scripts.scripts")
REASON = "DRAIN_NODE_REASON_PREEMPTION"  # the one that Ray never refuses
# Starting Python and Ray is most of it: 1.6 s of a core, and 22 s where each core had ten others to serve. One that is
# ended too early begins from the start; two of these fit into a cloud's two minutes.
ATTEMPT_TIMEOUT_S = 45.0
_SAID = 300


class DrainError(Exception):
    """Ray didn't take the request; one sentence, with the end of what its command printed."""


def check_ray() -> None:
    """Raises: DrainError when Ray isn't installed where this Python looks."""
    if importlib.util.find_spec("ray") is None:
        raise DrainError(f"Ray is not installed for {sys.executable}: start this with the Python that runs Ray")


class Drainer:
    """ray: the words that Ray's command line begins with."""

    def __init__(self, ray: Sequence[str] = RAY, timeout_s: float = ATTEMPT_TIMEOUT_S) -> None:
        self._ray = ray
        self._timeout_s = timeout_s

    async def drain(self, node: Node, message: str, remaining_s: float | None) -> None:
        """Returns once Ray has taken the request. remaining_s: until the node's end; None: nobody knows.

        Raises: DrainError. Cancelled, it leaves no process.
        """
        command = [*self._ray, "drain-node", "--address", node.gcs_address, "--node-id", node.node_id]
        command += ["--reason", REASON, "--reason-message", message]
        if remaining_s is not None:
            # Ray takes 0 for no deadline.
            command += ["--deadline-remaining-seconds", str(max(1, int(remaining_s)))]
        try:
            process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT)
        except OSError as error:
            raise DrainError(f"{self._ray[0]} can't be started: {error.strerror}") from error
        try:
            out, _ = await asyncio.wait_for(process.communicate(), self._timeout_s)
        except (TimeoutError, asyncio.TimeoutError) as error:
            raise DrainError(f"`ray drain-node` took more than {self._timeout_s:g} s") from error
        finally:
            await _end(process)
        if process.returncode:
            said = out.decode(errors="replace").strip()[-_SAID:]
            raise DrainError(f"`ray drain-node` ended with status {process.returncode}: {said}")


async def _end(process: Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
