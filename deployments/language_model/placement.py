"""Where a language model's replica computes, and what memory it may take there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
    """fraction: of one GPU, in (0, 1]. memory_bytes: all that the process may take of the GPU's memory; None: the same
    fraction of it.
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

    cpu_bytes: of the machine's memory for weights, and if the CPU computes for keys and values too. gpu_bytes: all that
    the process may take of the GPU's memory; None: without a GPU. folder: for the weights that fit in neither.
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
    """Whether a replica there takes a node's cores."""
    return isinstance(placement, OnCpu) or (isinstance(placement, Offloaded) and placement.gpu_bytes is None)
