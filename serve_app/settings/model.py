"""How long a generation may take, once it has a slot.

What an operator may set of one model: its checkpoint, what it runs on, and how much it takes on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from deployments.language_model.placement import Offloaded
from serve_app.settings.placement import FOLDER, CpuPlacement, PlacementSettings
from serve_app.settings.replicas import ReplicaSettings
from serve_app.settings.strict import StrictModel


@dataclass(frozen=True)
class Deadline:
    """factor: of the music's own duration. floor_s: but never less."""

    factor: float = 2.0
    floor_s: float = 60.0

    def seconds(self, duration_s: float) -> float:
        return max(self.floor_s, self.factor * duration_s)


PROJECT_ROOT = Path(__file__).resolve().parents[2]
MAX_DURATION_MS = 30_000
# Everywhere but on one whole GPU or a part of it a step has 64 rows, two for each generation.
MAX_SLOTS_BUT_ON_A_GPU = 32


def _matching(pattern: str, what: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{text!r} is not {what}")
        return text

    return AfterValidator(check)


ModelName = Annotated[
    str, _matching(r"[a-z0-9][a-z0-9._-]{0,63}", "a model's name (a-z, 0-9, '.', '_', '-'; 64 characters at most)")
]
# The licence travels in an HTTP header and in file tags.
License = Annotated[
    str, _matching(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}", "an SPDX id like MIT or CC-BY-NC-4.0, or a LicenseRef-…")
]
Revision = Annotated[str, _matching(r"[0-9a-f]{40}", "a commit (40 hex digits; a branch or tag could move)")]

_HUB_ID = re.compile(r"\A[A-Za-z0-9][\w.-]*/[\w.-]+\Z", re.ASCII)


class ModelSettings(StrictModel):
    """One model: where its checkpoint is, what it runs on, and how much it takes on.

    source: a folder, written `/…`, `~…`, `./…` or `../…` (from the project's root), or a hub id `owner/name`.
    revision: the commit of a hub id, 40 hex digits; a folder has none.
    license: of the weights, as clients are told it.
    placement: of the language model: `cpu`, `gpu`, or more exactly as `serve_app/settings/placement.py` has it.
    dtype: of the language model's weights; auto is the fastest that repeats itself exactly.
    slots: generations that one language-model replica makes at once. max_queued: how many more may wait for it.
    deadline_factor, deadline_floor_s: a generation that has a slot may take so many times its music's duration, and at
    least so long, whatever befalls it on the way.
    language_model: what is waited for (queue class `realtime`). batch_language_model: jobs of queue class `batch`; if
    not said, the first one makes them too.
    """

    source: str
    revision: Revision | None = None
    license: License
    placement: PlacementSettings = CpuPlacement()
    dtype: Literal["auto", "int8", "bfloat16", "float32"] = "auto"
    slots: int = Field(default=8, ge=1, le=256)
    max_queued: int = Field(default=32, ge=0)
    max_duration_ms: int = Field(default=MAX_DURATION_MS, ge=1, le=MAX_DURATION_MS)
    deadline_factor: float = Field(default=2.0, gt=0, allow_inf_nan=False)
    deadline_floor_s: float = Field(default=60.0, gt=0, allow_inf_nan=False)
    text_encoder: ReplicaSettings = ReplicaSettings()
    language_model: ReplicaSettings = ReplicaSettings(num_cpus=0.3)
    batch_language_model: ReplicaSettings | None = None
    codec_decoder: ReplicaSettings = ReplicaSettings()

    @property
    def is_hub_id(self) -> bool:
        """Whether the source is looked up on the hub rather than on the disk."""
        return not FOLDER.match(self.source)

    @property
    def folder(self) -> Path | None:
        """The folder that the source names, there or not; None for a hub id."""
        return None if self.is_hub_id else (PROJECT_ROOT / Path(self.source).expanduser()).resolve()

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
        """Cores that the replicas it starts with set aside together."""
        replicas = (self.text_encoder, *self.language_models, self.codec_decoder)
        return sum(each.first * each.num_cpus for each in replicas)

    @property
    def total_gpus(self) -> float:
        """GPUs that the replicas it starts with set aside together."""
        return sum(each.first for each in self.language_models) * self.placement.num_gpus

    @property
    def max_memory_bytes(self) -> int:
        """What the placement lets the language-model replicas it starts with take of the machine's memory; 0 where it
        says nothing.
        """
        placement = self.placement.resolved()
        number = sum(each.first for each in self.language_models)
        return number * placement.cpu_bytes if isinstance(placement, Offloaded) else 0

    @field_validator("source")
    @classmethod
    def _source_is_folder_or_hub_id(cls, source: str) -> str:
        if not FOLDER.match(source) and not _HUB_ID.match(source):
            raise ValueError(f"{source!r} is neither a folder (written ./… or /…) nor a hub id (owner/name)")
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
        if self.slots > MAX_SLOTS_BUT_ON_A_GPU and self.placement.kind != "gpu":
            raise ValueError(
                f"slots is {self.slots}, and a replica whose placement is {self.placement.kind} makes "
                f"{MAX_SLOTS_BUT_ON_A_GPU} generations at once at most; set more replicas (language_model.num_replicas)"
            )
        if self.dtype == "int8" and self.placement.kind in ("gpus", "offloaded"):
            raise ValueError(
                f"dtype int8 is for one CPU or one GPU, and the placement is {self.placement.kind}; set dtype: bfloat16"
            )
        return self
