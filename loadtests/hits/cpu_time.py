"""The CPU time of the service: what a request costs even where others keep the machine busy."""

from __future__ import annotations

import psutil

# As Ray calls them: the proxy and all replicas; and the node's own process, which takes part in every call.
_SERVING = ("ray::ProxyActor", "ray::ServeReplica:")
_NODE = "raylet"


def serving_s() -> float:
    """Seconds on a core, so far, of the Serve that this process has started."""
    total_s = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            if process.name() == _NODE or " ".join(process.cmdline()).startswith(_SERVING):
                times = process.cpu_times()
                total_s += times.user + times.system
        except psutil.NoSuchProcess:
            continue  # gone in between
    return total_s
