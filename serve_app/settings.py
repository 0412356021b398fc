"""What an operator may set: the `args` of the application in a Serve deploy file.

Strict and frozen: an unknown key, a value of another type or a contradiction fails with a sentence that says what
would be right. Nothing here looks at the disk or the network; `deployments.checkpoints` finds what a source names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from deployments.language_model.cpu_share import CpuShare
from deployments.language_model.placement import Offloaded, computes_on_cpu
from serve_app.access.settings import AccessSettings
from serve_app.api.settings import ApiSettings
from serve_app.cache.settings import CacheSettings
from serve_app.jobs.settings import JobsSettings
from serve_app.pipeline.deadline import Deadline
from serve_app.placement import FOLDER, CpuPlacement, PlacementSettings
from serve_app.records.settings import RecordsSettings
from serve_app.strict import StrictModel

PROJECT_ROOT = Path(__file__).resolve().parent.parent
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


class ReplicaSettings(StrictModel):
    """How many replicas a deployment has, and the cores Ray sets aside for each (a share for placing, not a limit)."""

    num_replicas: int = Field(default=1, ge=1)
    num_cpus: float = Field(default=0.1, ge=0)


class ModelSettings(StrictModel):
    """One model: where its checkpoint is, what it runs on, and how much it takes on.

    source: a folder, written `/…`, `~…`, `./…` or `../…` (from the project's root), or a hub id `owner/name`.
    revision: the commit of a hub id, 40 hex digits; a folder has none.
    license: of the weights, as clients are told it.
    placement: of the language model: `cpu`, `gpu`, or more exactly as `serve_app/placement.py` has it.
    dtype: of the language model's weights; auto is the fastest that repeats itself exactly.
    slots: generations that one language-model replica makes at once. max_queued: how many more may wait for it.
    deadline_factor, deadline_floor_s: a generation that has a slot may take so many times its music's duration, and at
    least so long, whatever befalls it on the way.
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
    def total_cpus(self) -> float:
        """Cores that all replicas of the model set aside together."""
        replicas = (self.text_encoder, self.language_model, self.codec_decoder)
        return sum(each.num_replicas * each.num_cpus for each in replicas)

    @property
    def total_gpus(self) -> float:
        """GPUs that all replicas of the model set aside together."""
        return self.language_model.num_replicas * self.placement.num_gpus

    @property
    def max_memory_bytes(self) -> int:
        """What the placement lets all language-model replicas take of the machine's memory; 0 where it says nothing."""
        placement = self.placement.resolved()
        return self.language_model.num_replicas * placement.cpu_bytes if isinstance(placement, Offloaded) else 0

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


class Settings(StrictModel):
    """The whole application.

    default_model: the one a request gets that names none.
    accepted_licenses: of models' weights; a model whose licence is not among them is not loaded.
    cpu_util_target: the part of a node's cores that all language models on it compute with, together.
    cache: what is kept of generations. records: what replicas have to agree upon. jobs: what is made in nobody's
    presence. access: who may ask, and how much.
    max_ongoing_requests: that each replica of the ingress and of the pipeline holds at once.
    """

    models: Mapping[ModelName, ModelSettings] = Field(min_length=1)
    default_model: ModelName
    accepted_licenses: Sequence[License] = ("CC0-1.0",)
    cpu_util_target: float = Field(default=1.0, gt=0, le=1)
    http: ApiSettings = ApiSettings()
    cache: CacheSettings = CacheSettings()
    records: RecordsSettings = RecordsSettings()
    jobs: JobsSettings = JobsSettings()
    access: AccessSettings = AccessSettings()
    max_ongoing_requests: int = Field(default=256, ge=1)
    ingress: ReplicaSettings = ReplicaSettings()
    pipeline: ReplicaSettings = ReplicaSettings()

    @property
    def loaded(self) -> Mapping[ModelName, ModelSettings]:
        """The models whose licences are accepted."""
        return {name: model for name, model in self.models.items() if model.license in self.accepted_licenses}

    @property
    def total_cpus(self) -> float:
        """Cores that all replicas of the application set aside together."""
        fronts = sum(each.num_replicas * each.num_cpus for each in (self.ingress, self.pipeline))
        return fronts + sum(model.total_cpus for model in self.loaded.values())

    @property
    def total_gpus(self) -> float:
        """GPUs that all replicas of the application set aside together."""
        return sum(model.total_gpus for model in self.loaded.values())

    @property
    def max_memory_bytes(self) -> int:
        """What placements let all replicas of the application take of the machine's memory."""
        return sum(model.max_memory_bytes for model in self.loaded.values())

    def cpu_share(self, name: ModelName) -> CpuShare:
        """Of each of a model's language-model replicas, beside all others that compute on a CPU."""
        computing = {
            each: [model.language_model.num_cpus] * model.language_model.num_replicas
            for each, model in self.loaded.items()
            if computes_on_cpu(model.placement.resolved())
        }
        own = computing.pop(name, [0.0])
        others = [*own[1:], *(cpus for each in computing.values() for cpus in each)]
        return CpuShare(self.cpu_util_target, own[0], tuple(others))

    @model_validator(mode="after")
    def _default_model_is_one_of_them(self) -> Settings:
        if self.default_model not in self.models:
            known = ", ".join(sorted(self.models))
            raise ValueError(f"default_model is {self.default_model!r}, which is none of the models: {known}")
        return self

    @model_validator(mode="after")
    def _default_model_may_be_loaded(self) -> Settings:
        licence = self.models[self.default_model].license
        if licence not in self.accepted_licenses:
            accepted = ", ".join([*self.accepted_licenses, licence])
            raise ValueError(
                f"the weights of the default model {self.default_model!r} are licensed {licence}: read that licence, "
                f"and if you accept it, set accepted_licenses: [{accepted}]"
            )
        return self

    @model_validator(mode="after")
    def _someone_takes_batch_jobs(self) -> Settings:
        if self.jobs.max_running and self.jobs.reserved >= self.jobs.max_running:
            raise ValueError(
                f"jobs.reserved is {self.jobs.reserved} of jobs.max_running {self.jobs.max_running}: none is left for "
                "batch jobs; set it lower"
            )
        return self
