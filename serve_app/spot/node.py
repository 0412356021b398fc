"""The Ray node that this machine is, by its raylet's process: as Ray finds it too (`ray._private.services`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

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
