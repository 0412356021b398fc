"""Where a language model's replica computes, what memory it may take there, and with how many threads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import psutil


def in_words(num_bytes: float) -> str:
    """`2.06 GB`, `310 MB`, `0.4 MB`."""
    if num_bytes >= 10**9:
        return f"{num_bytes / 10**9:.2f} GB"
    return f"{num_bytes / 10**6:.{0 if num_bytes >= 10**7 else 1}f} MB"


class PlacementError(Exception):
    """This machine doesn't have what the placement asks for; one sentence for the operator."""


@dataclass(frozen=True)
class OnCpu:
    """In this machine's memory, by its cores."""

    def __str__(self) -> str:
        return "on the CPU"


@dataclass(frozen=True)
class OnGpu:
    """On one GPU, or a fraction of it.

    Attributes:
        fraction: of one GPU, in (0, 1].
        memory_bytes: all that the process may take of the GPU's memory; None: the same fraction of it.
    """

    fraction: float = 1.0
    memory_bytes: int | None = None

    def __str__(self) -> str:
        share = "a GPU" if self.fraction == 1 else f"{self.fraction:g} of a GPU"
        return f"on {share}" + (f", {in_words(self.memory_bytes)} of it at most" if self.memory_bytes else "")


@dataclass(frozen=True)
class OnGpus:
    """Layers in as many equal runs as there are GPUs, computed one run after the other."""

    count: int

    def __str__(self) -> str:
        return f"on {self.count} GPUs, a run of layers on each"


@dataclass(frozen=True)
class Offloaded:
    """Each matrix from where there is room for it to where it is computed: on a GPU that has a part in it, or the CPU.

    Attributes:
        cpu_bytes: of the machine's memory for weights, and if the CPU computes for keys and values too.
        gpu_bytes: all that the process may take of the GPU's memory; None: without a GPU.
        folder: for the weights that fit in neither.
    """

    cpu_bytes: int
    gpu_bytes: int | None = None
    folder: Path | None = None

    @property
    def device(self) -> str:
        """That computes."""
        return "cpu" if self.gpu_bytes is None else "cuda:0"

    def __str__(self) -> str:
        return "offloaded, computed on " + ("the CPU" if self.gpu_bytes is None else "a GPU")


Placement = OnCpu | OnGpu | OnGpus | Offloaded


def computes_on_cpu(placement: Placement) -> bool:
    """Whether a replica with this placement takes a node's cores."""
    return isinstance(placement, OnCpu) or (isinstance(placement, Offloaded) and placement.gpu_bytes is None)


_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_ROUNDING = 1e-4  # Ray counts CPUs in ten-thousandths


@dataclass(frozen=True)
class CpuShare:
    """How much of a node's cores one replica computes with.

    A replica is started before its neighbours, and may outlive them, so it doesn't count those that are there: it
    leaves room for as many as Ray could put on its node. On one machine that is all of them; on a cluster, a replica
    that wants a node's cores for itself has to set aside more than half of its CPUs.

    Attributes:
        util_target: of a node's cores, for all language models on it together, in (0, 1].
        own_cpus: that Ray sets aside for this replica.
        other_cpus: for each other one of the application that computes on a CPU.
    """

    util_target: float = 1.0
    own_cpus: float = 0.0
    other_cpus: tuple[float, ...] = ()

    def num_threads(self, num_cores: int, node_cpus: float) -> int:
        """Threads of one replica, at least one.

        Args:
            node_cpus: that Ray counts on the node.
        """
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

    Args:
        quota_file: a container's limit, as Linux tells it: microseconds of work, or "max", in so many microseconds.
    """
    allowed = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else psutil.cpu_count()
    limits = [allowed or 1, psutil.cpu_count(logical=False) or 1]
    if quota_file.is_file():
        quota, period = quota_file.read_text(encoding="ascii").split()
        limits += [] if quota == "max" else [int(quota) // int(period)]
    return max(1, min(limits))
