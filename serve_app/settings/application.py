"""What an operator may set of who may ask, and how much.

What an operator may set of the HTTP surface.

What an operator may set of jobs.

What an operator may set: the `args` of the application in a Serve deploy file.

Strict and frozen: an unknown key, a value of another type or a contradiction fails with a sentence that says what
would be right. Nothing here looks at the disk or the network; `deployments.checkpoints` finds what a source names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from deployments.language_model.placement import CpuShare, computes_on_cpu
from deployments.messages import QueueClass
from serve_app.job import QUEUE_CLASSES
from serve_app.settings.model import License, ModelName, ModelSettings
from serve_app.settings.replicas import ReplicaSettings
from serve_app.settings.storage import CacheSettings, RecordsSettings
from serve_app.settings.strict import StrictModel


def _is_url_of_redis(text: str) -> bool:
    try:
        parts = urlsplit(text)
        # Reading the port checks it, and what urlsplit says of a wrong one may be a part of the password.
        return parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


class LimitsSettings(StrictModel):
    """What each key may have (without keys: all together). null: no limit.

    at_once: requests under way that make music or submit a job. audio_s_per_minute, audio_s_per_day: seconds of music
    asked for.
    storage: `memory`, where every ingress replica counts for itself, or a Redis that all share: `redis://host:6379/0`.
    when_down: of that Redis: `open` lets requests through uncounted, `closed` answers 503.
    """

    at_once: int | None = Field(default=None, ge=1)
    audio_s_per_minute: int | None = Field(default=None, ge=1)
    audio_s_per_day: int | None = Field(default=None, ge=1)
    storage: SecretStr = SecretStr("memory")
    when_down: Literal["open", "closed"] = "open"

    @field_validator("storage")
    @classmethod
    def _is_memory_or_redis(cls, storage: SecretStr) -> SecretStr:
        if storage.get_secret_value() != "memory" and not _is_url_of_redis(storage.get_secret_value()):
            raise ValueError(
                "storage is memory or the URL of a Redis like redis://user:password@host:6379/0, "
                "with `/`, `@`, `#` and `?` in the password as %2F, %40, %23 and %3F"
            )
        return storage


class AuditSettings(StrictModel):
    """prompts: whether audit records have the words or `redacted`; the logs never have them. keep_s: null: for ever."""

    prompts: Literal["kept", "redacted"] = "kept"
    keep_s: float | None = Field(default=90 * 24 * 3600.0, gt=0)


class AccessSettings(StrictModel):
    """keys: `required` or `none`; without, the service listens on loopback only.
    share_cache: whether one tenant's request may be answered with what was made for another's.
    policy: `module:function` that says why a prompt is refused, or None: `function(prompt: str, tenant: str)`.
    """

    keys: Literal["none", "required"] = "none"
    share_cache: bool = False
    limits: LimitsSettings = LimitsSettings()
    audit: AuditSettings = AuditSettings()
    policy: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")


class ApiSettings(StrictModel):
    """max_body_bytes: no request body beyond this is read. body_timeout_s: nor waited for longer than this.
    deadline_s: how long an answer may take before 504, with all its waiting; a model has one of its own for the making.

    max_gathered_bytes: of what all streams of one ingress replica hold back together so that their files can be kept.
    A stream for which there is no room is sent like any other, and its file is not kept; 0 keeps none of them.
    """

    max_body_bytes: int = Field(default=64 * 1024, ge=1024)
    body_timeout_s: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    deadline_s: float = Field(default=600.0, gt=0, allow_inf_nan=False)
    max_gathered_bytes: int = Field(default=64 * 2**20, ge=0)


class JobsSettings(StrictModel):
    """max_running: variations that one ingress replica makes at once; 0: it takes jobs in and leaves them to others.
    reserved: of these places, those that only `realtime` jobs take. max_queued: that have not begun, of each tenant.
    max_variations: of one job.
    max_attempts: after which a variation that failed again and again is given up; what a lost worker, a full queue or a
    roll-out cost is no failure. backoff_s: before the second attempt, doubled before each further one, to
    max_backoff_s at most.
    keep_s: how long a job that has ended is kept, with its codes; null: until it is deleted.
    """

    max_running: int = Field(default=8, ge=0, le=256)
    reserved: int = Field(default=2, ge=0)
    max_queued: int = Field(default=1_000, ge=1)
    max_variations: int = Field(default=8, ge=1, le=64)
    max_attempts: int = Field(default=5, ge=1, le=100)
    backoff_s: float = Field(default=1.0, gt=0, le=60)
    max_backoff_s: float = Field(default=60.0, gt=0, le=3600)
    keep_s: float | None = Field(default=7 * 24 * 3600.0, gt=0)


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
    def pools(self) -> Mapping[ModelName, Sequence[QueueClass]]:
        """By model, the queue classes that have language models of their own."""
        return {name: QUEUE_CLASSES[: len(model.language_models)] for name, model in self.loaded.items()}

    @property
    def scales(self) -> bool:
        """Whether any deployment's replicas come and go; a policy then decides for all."""
        return any(each.autoscaling is not None for each in self._replicas)

    @property
    def total_cpus(self) -> float:
        """Cores that the replicas the application starts with set aside together."""
        fronts = sum(each.first * each.num_cpus for each in (self.ingress, self.pipeline))
        return fronts + sum(model.total_cpus for model in self.loaded.values())

    @property
    def total_gpus(self) -> float:
        """GPUs that the replicas the application starts with set aside together."""
        return sum(model.total_gpus for model in self.loaded.values())

    @property
    def max_memory_bytes(self) -> int:
        """What placements let all replicas of the application take of the machine's memory."""
        return sum(model.max_memory_bytes for model in self.loaded.values())

    def cpu_share(self, name: ModelName) -> CpuShare:
        """Of each of a model's language-model replicas, beside all others that compute on a CPU."""
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
    def _only_language_models_may_go(self) -> Settings:
        others = {"ingress": self.ingress, "pipeline": self.pipeline}
        for name, model in self.models.items():
            others |= {f"models.{name}.{part}": getattr(model, part) for part in ("text_encoder", "codec_decoder")}
        for place, replicas in others.items():
            if not replicas.fewest:
                raise ValueError(f"{place}.autoscaling.min_replicas is 0, which only a language model may have; set 1")
        return self

    @model_validator(mode="after")
    def _someone_takes_batch_jobs(self) -> Settings:
        if self.jobs.max_running and self.jobs.reserved >= self.jobs.max_running:
            raise ValueError(
                f"jobs.reserved is {self.jobs.reserved} of jobs.max_running {self.jobs.max_running}: none is left for "
                "batch jobs; set it lower"
            )
        return self
