"""The settings of one model: its checkpoint, where it runs, and how much it generates at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from deployments.language_model.placement import Offloaded
from deployments.paths import ROOT, is_package_source, package_checkpoint
from serve_app.settings import StrictModel
from serve_app.settings.placement import FOLDER, CpuPlacement, PlacementSettings
from serve_app.settings.replicas import ReplicaSettings

MAX_DURATION_MS = 30_000
# A step has at most 64 rows, two for each generation, except on one whole GPU or a fraction of it.
_MAX_SLOTS_UNLESS_GPU = 32


def _matching(pattern: str, what: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{text!r} is not {what}")
        return text

    return AfterValidator(check)


ModelName = Annotated[
    str, _matching(r"[a-z0-9][a-z0-9._-]{0,63}", "a model's name (a-z, 0-9, '.', '_', '-'; 64 characters at most)")
]
# The licence goes into an HTTP header and into file tags.
License = Annotated[
    str, _matching(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}", "an SPDX id like MIT or CC-BY-NC-4.0, or a LicenseRef-…")
]
Revision = Annotated[str, _matching(r"[0-9a-f]{40}", "a commit (40 hex digits; a branch or tag could move)")]

_HUB_ID = re.compile(r"\A[A-Za-z0-9][\w.-]*/[\w.-]+\Z", re.ASCII)


@dataclass(frozen=True)
class Deadline:
    """How long a generation may take once it has a slot.

    Args:
        factor: times the duration of the music.
        floor_s: but never less.
    """

    factor: float = 2.0
    floor_s: float = 60.0

    def seconds(self, duration_s: float) -> float:
        return max(self.floor_s, self.factor * duration_s)


class ModelSettings(StrictModel):
    """One model."""

    source: str
    """The checkpoint: a folder, written `/…`, `~…`, `./…` or `../…` (from the deploy file's folder with `musicgen`;
    from the project's root with `serve run` and `serve deploy`), `package:NAME` for the one that an installed package
    contains, or a hub id `owner/name`."""
    revision: Revision | None = None
    """The commit of a hub id, 40 hex digits; a folder has none."""
    license: License
    """The licence of the weights, as clients are told it."""
    placement: PlacementSettings = CpuPlacement()
    """Where the language model runs: `cpu`, `gpu`, or a mapping with `kind`."""
    dtype: Literal["auto", "int8", "bfloat16", "float32"] = "auto"
    """Numeric type of the language model's weights; `auto` is the fastest one whose results repeat exactly."""
    slots: int = Field(default=8, ge=1, le=256)
    """Generations that one language-model replica runs at once."""
    max_queued: int = Field(default=32, ge=0)
    """Generations that may wait for a slot of a language-model replica."""
    max_duration_ms: int = Field(default=MAX_DURATION_MS, ge=1, le=MAX_DURATION_MS)
    """Longest duration in milliseconds that a request may ask for."""
    deadline_factor: float = Field(default=2.0, gt=0, allow_inf_nan=False)
    """Once a generation has a slot it may take this many times the duration of its music, retries included."""
    deadline_floor_s: float = Field(default=60.0, gt=0, allow_inf_nan=False)
    """The least time in seconds that a generation may take, however short its music."""
    text_encoder: ReplicaSettings = ReplicaSettings()
    """Replicas of the text encoder."""
    language_model: ReplicaSettings = ReplicaSettings(num_cpus=0.3)
    """Replicas of the language model for the queue class `realtime`, which clients wait for."""
    batch_language_model: ReplicaSettings | None = None
    """Replicas of the language model for jobs of the queue class `batch`; with null `language_model` generates them
    too."""
    codec_decoder: ReplicaSettings = ReplicaSettings()
    """Replicas of the codec decoder."""

    @property
    def is_hub_id(self) -> bool:
        """Whether the source is found on the hub rather than on the disk."""
        return not FOLDER.match(self.source) and not is_package_source(self.source)

    @property
    def folder(self) -> Path | None:
        """The folder that the source names, whether or not it exists; None for a hub id.

        Raises: LookupError for a package without a checkpoint.
        """
        if is_package_source(self.source):
            return package_checkpoint(self.source)
        return None if self.is_hub_id else (ROOT / Path(self.source).expanduser()).resolve()

    @property
    def deadline(self) -> Deadline:
        """How long a generation may take."""
        return Deadline(self.deadline_factor, self.deadline_floor_s)

    @property
    def language_models(self) -> tuple[ReplicaSettings, ...]:
        """One, or one for each queue class."""
        first, batch = self.language_model, self.batch_language_model
        return (first,) if batch is None else (first, batch)

    @property
    def total_cpus(self) -> float:
        """Cores that Ray reserves for the replicas it starts with."""
        replicas = (self.text_encoder, *self.language_models, self.codec_decoder)
        return sum(each.first * each.num_cpus for each in replicas)

    @property
    def total_gpus(self) -> float:
        """GPUs that Ray reserves for the replicas it starts with."""
        return sum(each.first for each in self.language_models) * self.placement.num_gpus

    @property
    def max_memory_bytes(self) -> int:
        """Memory of the machine that the placement lets the language-model replicas it starts with use; 0 where the
        placement sets no limit.
        """
        placement = self.placement.resolved()
        number = sum(each.first for each in self.language_models)
        return number * placement.cpu_bytes if isinstance(placement, Offloaded) else 0

    @field_validator("source")
    @classmethod
    def _source_is_folder_or_hub_id(cls, source: str) -> str:
        if not FOLDER.match(source) and not _HUB_ID.match(source) and not is_package_source(source):
            raise ValueError(
                f"{source!r} is neither a folder (written ./… or /…) nor a hub id (owner/name) nor package:NAME"
            )
        return source

    @model_validator(mode="after")
    def _parts_agree(self) -> ModelSettings:
        if self.is_hub_id and self.revision is None:
            raise ValueError(
                f"the hub id {self.source!r} needs the revision it is pinned to, which "
                f"`git ls-remote https://huggingface.co/{self.source} HEAD` prints; a folder is written ./{self.source}"
            )
        if not self.is_hub_id and self.revision is not None:
            raise ValueError(f"the folder {self.source!r} has no revision; only a hub id has one")
        if self.slots > _MAX_SLOTS_UNLESS_GPU and self.placement.kind != "gpu":
            raise ValueError(
                f"slots is {self.slots}, and a replica whose placement is {self.placement.kind} makes "
                f"{_MAX_SLOTS_UNLESS_GPU} generations at once at most; set more replicas (language_model.num_replicas)"
            )
        if self.dtype == "int8" and self.placement.kind in ("gpus", "offloaded"):
            raise ValueError(
                f"dtype int8 is for one CPU or one GPU, and the placement is {self.placement.kind}; set dtype: bfloat16"
            )
        return self
