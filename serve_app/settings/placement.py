"""Where a model's language model runs, as a deploy file says it: `placement: gpu`, or `placement: {kind: …}`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from deployments.checkpoints.sources import ROOT
from deployments.language_model.placement import Offloaded, OnCpu, OnGpu, OnGpus
from serve_app.settings.strict import StrictModel

FOLDER = re.compile(r"\A(\.{0,2}/|~)")

_UNITS = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}
_SIZE = re.compile(rf"(\d+(?:\.\d+)?) ?({'|'.join(_UNITS)})")
_KINDS = ("cpu", "gpu", "gpus", "offloaded")
_SAID_IN_A_WORD = ("cpu", "gpu")


def size_bytes(size: str) -> int:
    """`1.5GB` → 1500000000. Raises ValueError."""
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
    """The CPU, with as many threads as the application's `cpu_util_target` leaves each."""

    kind: Literal["cpu"] = "cpu"

    @property
    def num_gpus(self) -> float:
        """That Ray sets aside for each replica."""
        return 0

    def resolved(self) -> OnCpu:
        """As the deployment takes it."""
        return OnCpu()


class GpuPlacement(StrictModel):
    """fraction: of a GPU; 1 is a whole one. memory: of the card's a replica may take; if not said, that fraction."""

    kind: Literal["gpu"]
    fraction: Fraction = 1.0
    memory: Size | None = None

    @property
    def num_gpus(self) -> float:
        """That Ray sets aside for each replica."""
        return self.fraction

    def resolved(self) -> OnGpu:
        """As the deployment takes it."""
        return OnGpu(self.fraction, None if self.memory is None else size_bytes(self.memory))


class GpusPlacement(StrictModel):
    """Several whole GPUs for each replica, with a run of layers on each."""

    kind: Literal["gpus"]
    count: int

    @field_validator("count")
    @classmethod
    def _more_than_one(cls, count: int) -> int:
        if count < 2:
            raise ValueError(f"{count} is not several; one GPU is written `placement: gpu`")
        return count

    @property
    def num_gpus(self) -> float:
        """That Ray sets aside for each replica."""
        return self.count

    def resolved(self) -> OnGpus:
        """As the deployment takes it."""
        return OnGpus(self.count)


class MaxMemory(StrictModel):
    """gpu: what a replica may take of a GPU's memory; if not said, the CPU computes. cpu: of the machine's, for weights
    and, if the CPU computes, for keys and values.
    """

    cpu: Size
    gpu: Size | None = None


class OffloadedPlacement(StrictModel):
    """For a GPU or a machine too small for the model.

    fraction: of a GPU, where `max_memory` has one; 1 if not said. folder: for weights that no memory has room for, kept
    there from one start to the next; written `/…`, `~…`, `./…` or `../…` (from the project's root).
    """

    kind: Literal["offloaded"]
    max_memory: MaxMemory
    fraction: Fraction | None = None
    folder: str | None = None

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
        """That Ray sets aside for each replica."""
        if self.max_memory.gpu is None:
            return 0
        return 1.0 if self.fraction is None else self.fraction

    def resolved(self) -> Offloaded:
        """As the deployment takes it."""
        gpu = self.max_memory.gpu
        return Offloaded(
            cpu_bytes=size_bytes(self.max_memory.cpu),
            gpu_bytes=None if gpu is None else size_bytes(gpu),
            folder=None if self.folder is None else (ROOT / Path(self.folder).expanduser()).resolve(),
        )


def _with_its_kind(value: Any) -> Any:
    """`gpu` → `{kind: gpu}`. Raises ValueError for no kind and for one that there isn't."""
    if isinstance(value, str):
        if value not in _SAID_IN_A_WORD:
            raise ValueError(
                f"{value!r} is no placement; in a word it is {' or '.join(_SAID_IN_A_WORD)}, and else "
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
