"""Where a language model runs, as a deploy file says it: `placement: gpu`, or `placement: {kind: …}`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from deployments.language_model.placement import Offloaded, OnCpu, OnGpu, OnGpus
from deployments.paths import state_path
from serve_app.settings import StrictModel

FOLDER = re.compile(r"\A(\.{0,2}/|~)")

_UNITS = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}
_SIZE = re.compile(rf"(\d+(?:\.\d+)?) ?({'|'.join(_UNITS)})")
_KINDS = ("cpu", "gpu", "gpus", "offloaded")
_KINDS_WITHOUT_OPTIONS = ("cpu", "gpu")


def size_bytes(size: str) -> int:
    """`1.5GB` → 1500000000. Raises: ValueError."""
    found = _SIZE.fullmatch(size)
    if not found or not float(found[1]):
        raise ValueError(f"{size!r} is not a size like 20GB, 1.5GB, 500MB or 6GiB")
    return int(float(found[1]) * _UNITS[found[2]])


def _checked_size(size: str) -> str:
    size_bytes(size)
    return size


Size = Annotated[str, AfterValidator(_checked_size)]
Fraction = Annotated[float, Field(gt=0, le=1)]


class CpuPlacement(StrictModel):
    """The CPU, with the share of its cores that `cpu_util_target` leaves each replica."""

    kind: Literal["cpu"] = "cpu"
    """`cpu`: the language model runs on the CPU."""

    @property
    def num_gpus(self) -> float:
        """GPUs that Ray reserves for each replica."""
        return 0

    def resolved(self) -> OnCpu:
        """In the form that the deployment takes."""
        return OnCpu()


class GpuPlacement(StrictModel):
    """A GPU, or a fraction of one."""

    kind: Literal["gpu"]
    """`gpu`: the language model runs on one GPU."""
    fraction: Fraction = 1.0
    """The share of a GPU that each replica gets; 1 is a whole GPU."""
    memory: Size | None = None
    """GPU memory that a replica may use, like `20GB`; null is the same fraction of the card's memory."""

    @property
    def num_gpus(self) -> float:
        """GPUs that Ray reserves for each replica."""
        return self.fraction

    def resolved(self) -> OnGpu:
        """In the form that the deployment takes."""
        return OnGpu(self.fraction, None if self.memory is None else size_bytes(self.memory))


class GpusPlacement(StrictModel):
    """Several whole GPUs for each replica, with a run of layers on each."""

    kind: Literal["gpus"]
    """`gpus`: the language model is spread over several GPUs."""
    count: int
    """Whole GPUs for each replica, 2 or more."""

    @field_validator("count")
    @classmethod
    def _more_than_one(cls, count: int) -> int:
        if count < 2:
            raise ValueError(f"{count} is not several; one GPU is written `placement: gpu`")
        return count

    @property
    def num_gpus(self) -> float:
        """GPUs that Ray reserves for each replica."""
        return self.count

    def resolved(self) -> OnGpus:
        """In the form that the deployment takes."""
        return OnGpus(self.count)


class MaxMemory(StrictModel):
    """The memory that a replica of an offloaded model may use."""

    cpu: Size
    """Memory of the machine for weights and, if the CPU computes, for keys and values, like `8GB`."""
    gpu: Size | None = None
    """Memory of the GPU; with null the CPU computes."""


class OffloadedPlacement(StrictModel):
    """Weights partly outside the GPU, for a GPU or a machine too small for the model."""

    kind: Literal["offloaded"]
    """`offloaded`: weights that do not fit wait in memory or on disk, and are loaded in every step."""
    max_memory: MaxMemory
    """Memory that each replica may use."""
    fraction: Fraction | None = None
    """The share of a GPU that each replica gets where `max_memory` has a `gpu`; null is a whole GPU."""
    folder: str | None = None
    """Where weights are stored that fit into no memory, from one start to the next: a folder, written `/…`, `~…`,
    `./…` or `../…` (relative to the state folder)."""

    @field_validator("folder")
    @classmethod
    def _is_a_folder(cls, folder: str | None) -> str | None:
        if folder is not None and not FOLDER.match(folder):
            raise ValueError(f"{folder!r} is not written as a folder: ./{folder} or /{folder}")
        return folder

    @model_validator(mode="after")
    def _has_a_gpu_to_take_a_fraction_of(self) -> OffloadedPlacement:
        if self.fraction is not None and self.max_memory.gpu is None:
            raise ValueError("fraction is of a GPU, and max_memory has none; give it a part: max_memory: {gpu: 6GB, …}")
        return self

    @property
    def num_gpus(self) -> float:
        """GPUs that Ray reserves for each replica."""
        if self.max_memory.gpu is None:
            return 0
        return 1.0 if self.fraction is None else self.fraction

    def resolved(self) -> Offloaded:
        """In the form that the deployment takes."""
        gpu = self.max_memory.gpu
        return Offloaded(
            cpu_bytes=size_bytes(self.max_memory.cpu),
            gpu_bytes=None if gpu is None else size_bytes(gpu),
            folder=None if self.folder is None else state_path(self.folder),
        )


def _with_its_kind(value: Any) -> Any:
    """`gpu` → `{kind: gpu}`. Raises: ValueError for a missing or unknown kind."""
    if isinstance(value, str):
        if value not in _KINDS_WITHOUT_OPTIONS:
            raise ValueError(
                f"{value!r} is no placement; in a word it is {' or '.join(_KINDS_WITHOUT_OPTIONS)}, and else "
                "{kind: gpu, fraction: 0.25}, {kind: gpus, count: 2} or {kind: offloaded, max_memory: {cpu: 24GB}}"
            )
        return {"kind": value}
    if isinstance(value, dict) and value.get("kind") not in _KINDS:
        said = f"kind is {value['kind']!r}" if "kind" in value else "kind is missing"
        raise ValueError(f"{said}; it is one of {', '.join(_KINDS)}")
    return value


PlacementSettings = Annotated[
    Annotated[CpuPlacement | GpuPlacement | GpusPlacement | OffloadedPlacement, Field(discriminator="kind")],
    BeforeValidator(_with_its_kind),
]
