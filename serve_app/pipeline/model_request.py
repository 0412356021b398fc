"""A request as the pipeline works on it, and the model that it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from deployments.messages import EngineIdentity, MusicRequest, Resumption
from serve_app.cache.keys import GenerationRequest, ModelIdentity
from serve_app.pipeline.generation import Work
from serve_app.pipeline.workers import Stages, Suspects
from serve_app.settings.model import Deadline


@dataclass(frozen=True)
class Model:
    """One model, as the pipeline sees it."""

    stages: Stages
    deadline: Deadline
    suspects: Suspects


@dataclass(frozen=True)
class Asked:
    """identity: of the engines that are to make it. resumption: see `Pipeline.listen`."""

    request: MusicRequest
    model: Model
    identity: EngineIdentity
    num_frames: int
    resumption: Resumption | None = None

    @cached_property
    def generation_request(self) -> GenerationRequest:
        """What the keys are made of."""
        return generation_request(self.request, self.identity)

    def work(self, key: str, seed: int) -> Work:
        return Work(key, self.request.model, self.request.prompt, seed, self.request.sampling, self.identity)


def generation_request(request: MusicRequest, identity: EngineIdentity) -> GenerationRequest:
    """What the keys of a request are made of, the same for whoever looks into the cache."""
    model = ModelIdentity(request.model, identity.fingerprint, identity.numerics, identity.vocab_size)
    return GenerationRequest(request.scope, model, request.prompt, request.sampling)
