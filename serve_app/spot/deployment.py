"""The standby process that drains a node: it imports Ray before it is needed, and calls Ray's control service (GCS).

    {"gcs_address": …, "node_id": …, "message": …, "deadline_ms": …} → {"refused": null}, or the reason

One line of JSON for each request, until its input ends. The first line that it writes, {}, says that it is ready. It
does what `ray drain-node` does, whose start takes 1.6 s of a core: with all cores busy, most of the notice period.
"""

from __future__ import annotations

import json
import os
import signal
import sys

import ray
from ray.core.generated import autoscaler_pb2
from ray.exceptions import RayError

# The only reason that Ray never refuses.
_REASON = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")


def refusal(gcs_address: str, node_id: str, message: str, deadline_ms: int) -> str | None:
    """Returns why Ray refused; None if it accepted. node_id: in hex. deadline_ms: since 1970; 0: unknown."""
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
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # so that libraries cannot print into the answers
    print("{}", file=answers)
    for line in sys.stdin:
        print(json.dumps({"refused": refusal(**json.loads(line))}), file=answers)


if __name__ == "__main__":
    main()
