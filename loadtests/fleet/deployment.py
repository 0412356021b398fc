"""The process that keeps a fleet's nodes: it adds one for each line it reads, and ends them all when its input ends.

    add KIND → {"node_id": …, "raylet_pid": …}

Ray's own helper for tests starts them. A node is a raylet and its children, and can be killed by its processes.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray._private import ray_constants
from ray.cluster_utils import Cluster

from loadtests.fleet.node_kinds import KINDS, ON_DEMAND, NodeKind

_HEAD = NodeKind("head", 0, 0, ON_DEMAND)


@contextmanager
def _cluster(dashboard_port: int) -> Iterator[Cluster]:
    head = {**_HEAD.options, "include_dashboard": True, "dashboard_port": dashboard_port}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster
    finally:
        cluster.shutdown()


def main(dashboard_port: int) -> None:
    """Answers with the head, and to each line with the node."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # so that libraries cannot print into the answers

    def answer(**said: Any) -> None:
        print(json.dumps(said), file=answers)

    with _cluster(dashboard_port) as cluster:
        answer(gcs_address=cluster.address, dashboard=cluster.head_node.webui_url)
        for line in sys.stdin:
            _, kind = line.split()
            node = cluster.add_node(**KINDS[kind].options)
            [raylet] = node.all_processes[ray_constants.PROCESS_TYPE_RAYLET]
            answer(node_id=node.node_id, raylet_pid=raylet.process.pid)


if __name__ == "__main__":
    main(int(sys.argv[1]))
