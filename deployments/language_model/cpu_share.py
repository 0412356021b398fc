"""How many threads a language model's replica computes with, beside others on its node."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import psutil

_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_ROUNDING = 1e-4  # Ray counts CPUs in ten-thousandths


@dataclass(frozen=True)
class CpuShare:
    """util_target: of a node's cores, for all language models on it together, in (0, 1].

    own_cpus: that Ray sets aside for this replica. other_cpus: for each other one of the application that computes on
    a CPU. A replica is started before its neighbours, and may outlive them, so it doesn't count those that are there:
    it leaves room for as many as Ray could put on its node. On one machine that is all of them; on a cluster, whoever
    wants a node's cores for one replica sets aside more than half of its CPUs for it.
    """

    util_target: float = 1.0
    own_cpus: float = 0.0
    other_cpus: tuple[float, ...] = ()

    def num_threads(self, num_cores: int, node_cpus: float) -> int:
        """node_cpus: that Ray counts on the node."""
        return max(1, math.floor(self.util_target * num_cores / self.num_sharing(node_cpus) + 1e-9))

    def num_sharing(self, node_cpus: float) -> int:
        """The most replicas that fit on a node of so many CPUs, this one among them."""
        taken, count = self.own_cpus, 1
        for cpus in sorted(self.other_cpus):
            taken += cpus
            if taken > node_cpus + _ROUNDING:
                break
            count += 1
        return count


def num_cores(quota_file: Path = _CGROUP_QUOTA) -> int:
    """Physical cores that this process may use: hyper-threads share the units that a matrix product keeps busy.

    quota_file: a container's limit, as Linux tells it: microseconds of work, or "max", in so many microseconds.
    """
    allowed = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else psutil.cpu_count()
    limits = [allowed or 1, psutil.cpu_count(logical=False) or 1]
    if quota_file.is_file():
        quota, period = quota_file.read_text(encoding="ascii").split()
        limits += [] if quota == "max" else [int(quota) // int(period)]
    return max(1, min(limits))
