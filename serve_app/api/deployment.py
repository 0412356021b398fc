"""The ingress as a Ray Serve deployment: the HTTP application over the pipeline's and the codecs' handles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence

from fastapi import FastAPI
from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle

from deployments.messages import EngineIdentity, ModelCard, MusicRequest, Resumption
from serve_app.api.app import create_app
from serve_app.api.kept_sounds import KeptSounds
from serve_app.api.pipeline_backend import PipelineBackend
from serve_app.api.settings import ApiSettings
from serve_app.cache.opening import open_cache
from serve_app.cache.settings import CacheSettings
from serve_app.pipeline.deployment import CodecHandle
from serve_app.pipeline.lasting import PipelineItem, PipelineLost

READY_TIMEOUT_S = 5.0


class PipelineHandle:
    """The pipeline's replicas, reached through Serve, which leads one `affinity` to one replica."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def codes(
        self, request: MusicRequest, resumption: Resumption | None, affinity: str
    ) -> AsyncGenerator[PipelineItem, None]:
        stream = self._handle.options(stream=True, session_id=affinity).codes.remote(request, resumption)
        try:
            async for item in stream:
                yield item
        except RayActorError as error:
            raise PipelineLost(type(error).__name__) from error
        finally:
            stream.cancel()  # frees what the request still holds; of no effect on a stream that has ended

    async def identity(self, model: str, affinity: str) -> EngineIdentity:
        try:
            identity: EngineIdentity = await self._handle.options(session_id=affinity).identity.remote(model)
        except RayActorError as error:
            raise PipelineLost(type(error).__name__) from error
        return identity

    async def ready(self) -> Mapping[str, bool]:
        try:
            up = await asyncio.wait_for(self._handle.ready.remote(), READY_TIMEOUT_S)
        except (asyncio.TimeoutError, RayActorError):
            return {self._handle.deployment_name: False}
        return {self._handle.deployment_name: True, **up}


class IngressDeployment:
    """codecs: by model, its codec decoder. cards: of the models on offer. lease_s: of the pipelines' leases.

    It answers `/health` and `/ready` while the models still load.
    """

    def __init__(
        self,
        pipeline: DeploymentHandle,
        codecs: Mapping[str, DeploymentHandle],
        cards: Sequence[ModelCard],
        default_model: str,
        settings: ApiSettings,
        cache: CacheSettings,
        lease_s: float,
    ) -> None:
        codec_handles = {model: CodecHandle(handle) for model, handle in codecs.items()}
        sounds = KeptSounds(open_cache(cache))
        client = PipelineHandle(pipeline)
        self._backend = PipelineBackend(client, codec_handles, cards, default_model, sounds, lease_s)
        self._settings = settings

    def __serve_build_asgi_app__(self) -> FastAPI:
        self._completing = asyncio.get_running_loop().create_task(self._backend.complete_cards())
        return create_app(self._backend, self._settings, behind_serve=True)
