"""The ingress as a Ray Serve deployment: the HTTP application over the pipeline's and the codecs' handles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from ray.exceptions import RayActorError
from ray.serve.context import _get_global_client
from ray.serve.handle import DeploymentHandle
from ray.util import get_node_ip_address

from deployments.messages import EngineIdentity, ModelCard, MusicRequest, Resumption
from deployments.presence import Presence
from serve_app.access import binding
from serve_app.access.gate import Gate
from serve_app.access.settings import AccessSettings
from serve_app.api.app import create_app
from serve_app.api.kept_sounds import KeptSounds
from serve_app.api.pipeline_backend import PipelineBackend
from serve_app.api.settings import ApiSettings
from serve_app.cache.opening import open_cache
from serve_app.cache.settings import CacheSettings
from serve_app.jobs.opening import JobService
from serve_app.jobs.settings import JobsSettings
from serve_app.pipeline.deployment import CodecHandle
from serve_app.pipeline.lasting import PipelineItem, PipelineLost
from serve_app.records.audit_table import AuditTable
from serve_app.records.key_table import KeyTable
from serve_app.records.opening import open_database, open_leases
from serve_app.records.settings import RecordsSettings

READY_TIMEOUT_S = 5.0


class PipelineHandle:
    """The pipeline's replicas, reached through Serve, which leads one `affinity` to one replica."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle
        self._presence = Presence(get_node_ip_address())

    async def codes(
        self, request: MusicRequest, resumption: Resumption | None, affinity: str
    ) -> AsyncGenerator[PipelineItem, None]:
        async with self._presence.call() as caller:
            stream = self._handle.options(stream=True, session_id=affinity).codes.remote(request, resumption, caller)
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
    """codecs: by model, its codec decoder. cards: of the models on offer. records: which all replicas share.

    It answers `/health` and `/ready` while the models still load, and makes jobs as long as it is up.
    """

    def __init__(
        self,
        pipeline: DeploymentHandle,
        codecs: Mapping[str, DeploymentHandle],
        cards: Sequence[ModelCard],
        default_model: str,
        settings: ApiSettings,
        cache: CacheSettings,
        records: RecordsSettings,
        jobs: JobsSettings,
        access: AccessSettings,
    ) -> None:
        codec_handles = {model: CodecHandle(handle) for model, handle in codecs.items()}
        sounds = KeptSounds(open_cache(cache))
        client = PipelineHandle(pipeline)
        self._backend = PipelineBackend(client, codec_handles, cards, default_model, sounds, records.lease_s)
        self._settings = settings
        self._jobs_settings = jobs
        binding.check(_get_global_client().http_config.host, access.keys)
        database = open_database(records)
        leases = open_leases(records, database)
        self._jobs = JobService(database, leases, self._backend.frames, codec_handles, records, jobs)
        self._gate = Gate(access, KeyTable(database), AuditTable(database), timeout_s=records.timeout_s)

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_app(
            self._backend,
            self._settings,
            behind_serve=True,
            jobs=self._jobs.jobs,
            jobs_settings=self._jobs_settings,
            gate=self._gate,
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Serve ends it before the replica's process, when it takes one away in its own time."""
        completing = asyncio.create_task(self._backend.complete_cards())
        self._gate.start()
        try:
            async with self._jobs.running():
                yield
        finally:
            completing.cancel()
            await self._gate.close()
