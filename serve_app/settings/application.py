"""The settings of the whole application: the `args` of a Serve deploy file, and its parts `http`, `jobs` and `access`.

They are strict and frozen: an unknown key, a value of another type or a contradiction fails with a sentence that says
what would be right. Nothing here reads the disk or the network; `deployments.checkpoints` finds what a source names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from deployments.language_model.placement import CpuShare, computes_on_cpu
from deployments.messages import QueueClass
from serve_app.job import QUEUE_CLASSES
from serve_app.settings import StrictModel
from serve_app.settings.model import License, ModelName, ModelSettings
from serve_app.settings.replicas import ReplicaSettings
from serve_app.settings.storage import CacheSettings, DatabaseSettings


class LimitsSettings(StrictModel):
    """What each API key may use; without keys, all requests together."""

    at_once: int | None = Field(default=None, ge=1)
    """Requests at once that generate music or submit a job; null is no limit."""
    audio_s_per_minute: int | None = Field(default=None, ge=1)
    """Seconds of music that may be requested per minute; null is no limit."""
    audio_s_per_day: int | None = Field(default=None, ge=1)
    """Seconds of music that may be requested per day; null is no limit."""
    storage: SecretStr = SecretStr("memory")
    """Where usage is counted: `memory`, where each ingress replica counts for itself, or the URL of a Redis that all
    replicas share, like `redis://host:6379/0`."""
    when_down: Literal["open", "closed"] = "open"
    """What happens while that Redis is down: `open` lets requests through uncounted, `closed` answers 503."""

    @field_validator("storage")
    @classmethod
    def _is_memory_or_redis(cls, storage: SecretStr) -> SecretStr:
        if storage.get_secret_value() != "memory" and not _is_url_of_redis(storage.get_secret_value()):
            raise ValueError(
                "storage is memory or the URL of a Redis like redis://user:password@host:6379/0, "
                "with `/`, `@`, `#` and `?` in the password as %2F, %40, %23 and %3F"
            )
        return storage


def _is_url_of_redis(text: str) -> bool:
    try:
        parts = urlsplit(text)
        # Reading the port checks it. What urlsplit says of a wrong one may be a part of the password.
        return parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


class AuditSettings(StrictModel):
    """What the audit table records of each request."""

    prompts: Literal["kept", "redacted"] = "kept"
    """Whether audit records contain the prompt (`kept`) or not (`redacted`); logs never contain it."""
    keep_s: float | None = Field(default=90 * 24 * 3600.0, gt=0)
    """Seconds until audit records are deleted; null keeps them forever."""


class AuthSettings(StrictModel):
    """Who may use the service, and how much."""

    keys: Literal["none", "required"] = "none"
    """Whether requests need an API key; with `none` the service listens on loopback only."""
    share_cache: bool = False
    """Whether one tenant's request may be answered with music that was generated for another tenant."""
    limits: LimitsSettings = LimitsSettings()
    """Limits of each API key; without keys, of all requests together."""
    audit: AuditSettings = AuditSettings()
    """What the audit table records."""
    policy: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """A prompt policy, as `module:function`: `function(prompt: str, tenant: str)` returns why the prompt is refused, or
    None; null accepts every prompt."""


class HttpSettings(StrictModel):
    """Limits of the HTTP API."""

    max_body_bytes: int = Field(default=64 * 1024, ge=1024)
    """Largest request body in bytes; no more than this is read."""
    body_timeout_s: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """Seconds that a request body may take to arrive."""
    deadline_s: float = Field(default=600.0, gt=0, allow_inf_nan=False)
    """Seconds until a request is answered with 504, waiting included; a model also has a deadline for each
    generation."""
    max_gathered_bytes: int = Field(default=64 * 2**20, ge=0)
    """Bytes of memory in which one ingress replica collects the files of all its streams for the cache; a stream that
    finds no room is sent as usual and its file is not cached, and 0 caches no streamed file."""


class JobsSettings(StrictModel):
    """How jobs run: requests that are generated whether or not a client waits."""

    max_running: int = Field(default=8, ge=0, le=256)
    """Variations that one ingress replica generates at once; with 0 it accepts jobs and leaves them to other
    replicas."""
    reserved: int = Field(default=2, ge=0)
    """How many of the `max_running` places only `realtime` jobs may use."""
    max_queued: int = Field(default=1_000, ge=1)
    """Variations of one tenant that may wait in the queue."""
    max_variations: int = Field(default=8, ge=1, le=64)
    """Variations of one job."""
    max_attempts: int = Field(default=5, ge=1, le=100)
    """Failed attempts after which a variation fails for good; a lost worker, a full queue or a roll-out does not
    count."""
    backoff_s: float = Field(default=1.0, gt=0, le=60)
    """Seconds before the second attempt; doubled before each further one."""
    max_backoff_s: float = Field(default=60.0, gt=0, le=3600)
    """Longest wait in seconds between two attempts."""
    keep_s: float | None = Field(default=7 * 24 * 3600.0, gt=0)
    """Seconds until a finished job and its codes are deleted; null keeps them until a client deletes them."""


class Settings(StrictModel):
    """The whole application."""

    models: Mapping[ModelName, ModelSettings] = Field(min_length=1)
    """The models, by the name that clients use."""
    default_model: ModelName
    """The model of a request that names none."""
    accepted_licenses: Sequence[License] = ("CC0-1.0",)
    """Licences of weights that you accept; a model with any other licence is not loaded."""
    cpu_util_target: float = Field(default=1.0, gt=0, le=1)
    """The share of a node's cores that all language models on it use together."""
    http: HttpSettings = HttpSettings()
    """Limits of the HTTP API."""
    cache: CacheSettings = CacheSettings()
    """What is cached of generations, and where."""
    records: DatabaseSettings = DatabaseSettings()
    """The database that replicas share: jobs, API keys, leases and the audit."""
    jobs: JobsSettings = JobsSettings()
    """How jobs run."""
    access: AuthSettings = AuthSettings()
    """Who may use the service, and how much."""
    max_ongoing_requests: int = Field(default=256, ge=1)
    """Requests that each replica of the ingress and of the pipeline handles at once."""
    ingress: ReplicaSettings = ReplicaSettings()
    """Replicas of the ingress, which answers HTTP."""
    pipeline: ReplicaSettings = ReplicaSettings()
    """Replicas of the pipeline, which runs generations."""

    @property
    def loaded(self) -> Mapping[ModelName, ModelSettings]:
        """The models whose licences are accepted."""
        return {name: model for name, model in self.models.items() if model.license in self.accepted_licenses}

    @property
    def pools(self) -> Mapping[ModelName, Sequence[QueueClass]]:
        """By model, the queue classes that have language models of their own."""
        return {name: QUEUE_CLASSES[: len(model.language_models)] for name, model in self.loaded.items()}

    @property
    def scales(self) -> bool:
        """Whether any deployment is autoscaled; then one policy decides for all of them."""
        return any(each.autoscaling is not None for each in self._replicas)

    @property
    def total_cpus(self) -> float:
        """Cores that Ray reserves for the replicas the application starts with."""
        ours = sum(each.first * each.num_cpus for each in (self.ingress, self.pipeline))
        return ours + sum(model.total_cpus for model in self.loaded.values())

    @property
    def total_gpus(self) -> float:
        """GPUs that Ray reserves for the replicas the application starts with."""
        return sum(model.total_gpus for model in self.loaded.values())

    @property
    def max_memory_bytes(self) -> int:
        """Memory of the machine that placements let the replicas of the application use."""
        return sum(model.max_memory_bytes for model in self.loaded.values())

    def cpu_share(self, name: ModelName) -> CpuShare:
        """The cores of each language-model replica of one model, beside all others that compute on a CPU."""
        computing = {
            each: [pool.num_cpus for pool in model.language_models for _ in range(pool.most)]
            for each, model in self.loaded.items()
            if computes_on_cpu(model.placement.resolved())
        }
        own = computing.pop(name, [0.0])
        others = [*own[1:], *(cpus for each in computing.values() for cpus in each)]
        return CpuShare(self.cpu_util_target, own[0], tuple(others))

    @property
    def _replicas(self) -> Iterator[ReplicaSettings]:
        yield from (self.ingress, self.pipeline)
        for model in self.models.values():
            yield from (model.text_encoder, *model.language_models, model.codec_decoder)

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
    def _only_language_models_scale_to_zero(self) -> Settings:
        others = {"ingress": self.ingress, "pipeline": self.pipeline}
        for name, model in self.models.items():
            others |= {f"models.{name}.{part}": getattr(model, part) for part in ("text_encoder", "codec_decoder")}
        for path, replicas in others.items():
            if not replicas.fewest:
                raise ValueError(f"{path}.autoscaling.min_replicas is 0, which only a language model may have; set 1")
        return self

    @model_validator(mode="after")
    def _a_place_is_left_for_batch_jobs(self) -> Settings:
        if self.jobs.max_running and self.jobs.reserved >= self.jobs.max_running:
            raise ValueError(
                f"jobs.reserved is {self.jobs.reserved} of jobs.max_running {self.jobs.max_running}: none is left for "
                "batch jobs; set it lower"
            )
        return self
