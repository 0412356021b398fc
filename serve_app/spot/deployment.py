"""Ray's side of a drain: a process that has imported Ray before it is needed, and asks the cluster's control service.

    {"gcs_address": …, "node_id": …, "message": …, "deadline_ms": …} → {"refused": null}, or the reason

A line of JSON each, until its input ends. The first line that it writes, {}, says that it is ready. It does what
`ray drain-node` does, whose own start takes 1.6 s of a core: with all cores busy, most of a notice.
"""

from __future__ import annotations

import json
import os
import signal
import sys

import ray
from ray.core.generated import autoscaler_pb2
from ray.exceptions import RayError

# The one that Ray never refuses.
_REASON = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")


def refusal(gcs_address: str, node_id: str, message: str, deadline_ms: int) -> str | None:
    """Why Ray did not take the drain; None: it did. node_id: in hex. deadline_ms: since 1970; 0: nobody knows."""
    try:
        is_accepted, reason = ray._raylet.GcsClient(address=gcs_address).drain_node(
            node_id, _REASON, message, deadline_ms
        )
    except (RayError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return None if is_accepted else str(reason)


def main() -> None:
    # Ctrl-C is for the watcher, and this ends with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    print("{}", file=answers)
    for line in sys.stdin:
        print(json.dumps({"refused": refusal(**json.loads(line))}), file=answers)


if __name__ == "__main__":
    main()
