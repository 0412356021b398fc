"""What an operator may set: the `args` of the application in a Serve deploy file.

Strict and frozen: an unknown key, a value of another type or a contradiction fails with a sentence that says what
would be right. Nothing here looks at the disk or the network; `deployments.checkpoints` finds what a source names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydantic import Field, model_validator

from deployments.language_model.cpu_share import CpuShare
from deployments.language_model.placement import computes_on_cpu
from deployments.messages import QueueClass
from serve_app.access.settings import AccessSettings
from serve_app.api.settings import ApiSettings
from serve_app.cache.settings import CacheSettings
from serve_app.jobs.job import QUEUE_CLASSES
from serve_app.jobs.settings import JobsSettings
from serve_app.model_settings import License, ModelName, ModelSettings
from serve_app.records.settings import RecordsSettings
from serve_app.replica_settings import ReplicaSettings
from serve_app.strict import StrictModel


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
