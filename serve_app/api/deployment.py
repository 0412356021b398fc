"""The ingress as a Ray Serve deployment: the HTTP application over handles of the pipeline and the codec decoders."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from ray.exceptions import RayActorError, RayError
from ray.serve.context import _get_global_client
from ray.serve.handle import DeploymentHandle
from ray.util import get_node_ip_address

from deployments.liveness.heartbeat import CallerHeartbeat
from deployments.malloc_tuning import map_large_blocks
from deployments.messages import EngineIdentity, ModelCard, MusicRequest, QueueClass, Resumption
from deployments.scaling_stats import waiting_numbers
from deployments.telemetry.deployment import RayRecorder
from deployments.telemetry.metric import REFRESH_S
from serve_app.api.app import create_app
from serve_app.api.finished_files import FileCache
from serve_app.api.middleware.connection import Disconnects
from serve_app.api.pipeline_backend import PipelineBackend
from serve_app.api.routes.operations import metrics_token
from serve_app.auth.gate import Gate
from serve_app.auth.keys import check_bind_address
from serve_app.database.auth_tables import AuditTable, KeyTable
from serve_app.database.engines import open_database, open_leases
from serve_app.database.leases import LEASES_LOST
from serve_app.errors import NotReady
from serve_app.job import QUEUE_CLASSES
from serve_app.jobs import JOB_ATTEMPTS, JOBS_UNDER_WAY, JOBS_WAITING, JOBS_WAITING_AUDIO
from serve_app.jobs.maker import JobHealthMeter
from serve_app.jobs.service import JobService
from serve_app.pipeline.deployment import CodecHandle
from serve_app.scaling.policy import NOTHING_WAITS
from serve_app.settings.application import AuthSettings, HttpSettings, JobsSettings
from serve_app.settings.storage import CacheSettings, DatabaseSettings
from serve_app.sound.health_reports import SoundMetrics
from serve_app.sound.resuming import PipelineItem, PipelineLost
from serve_app.stores.opening import open_cache
from serve_app.telemetry.deployment import agents, nodes, record_nodes
from serve_app.telemetry.metrics_page import MetricsPage, NodeAgents
from serve_app.telemetry.service_metrics import MODELS

READY_TIMEOUT_S = 5.0


class PipelineHandle:
    """The pipeline's replicas, called through Serve, which routes one `affinity` to one replica."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle
        self._heartbeat = CallerHeartbeat(get_node_ip_address())

    async def codes(
        self, request: MusicRequest, resumption: Resumption | None, affinity: str
    ) -> AsyncGenerator[PipelineItem, None]:
        async with self._heartbeat.call() as caller:
            stream = self._handle.options(stream=True, session_id=affinity).codes.remote(request, resumption, caller)
            try:
                async for item in stream:
                    yield item
            except RayActorError as error:
                raise PipelineLost(type(error).__name__) from error
            finally:
                stream.cancel()  # frees what the request still holds; of no effect on a stream that has ended

    async def identity(self, model: str, queue: QueueClass, affinity: str) -> EngineIdentity:
        try:
            identity: EngineIdentity = await self._handle.options(session_id=affinity).identity.remote(model, queue)
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
    """The ingress. It answers `/health` and `/ready` while the models load, and runs jobs as long as it is up.

    Args:
        codecs: the codec decoder of each model.
        cards: of the models served.
        lazy: models whose language model may have no replica.
    """

    def __init__(
        self,
        pipeline: DeploymentHandle,
        codecs: Mapping[str, DeploymentHandle],
        cards: Sequence[ModelCard],
        default_model: str,
        settings: HttpSettings,
        cache: CacheSettings,
        records: DatabaseSettings,
        jobs: JobsSettings,
        access: AuthSettings,
        lazy: Collection[str],
    ) -> None:
        self._queues = [(model, queue) for model in codecs for queue in QUEUE_CLASSES]
        map_large_blocks()
        codec_handles = {model: CodecHandle(handle) for model, handle in codecs.items()}
        recorder = self._recorder = RayRecorder()
        # A counter whose first sample is its first event shows no increase.
        recorder.add(LEASES_LOST, 0, kind="job")
        for queue in QUEUE_CLASSES:
            recorder.add(JOB_ATTEMPTS, 0, queue=queue, outcome="failed")
        sound_recorder = SoundMetrics(recorder, tuple(codecs))
        self._metrics_token = metrics_token(os.environ)
        sounds = FileCache(open_cache(cache, recorder))
        client = PipelineHandle(pipeline)
        self._backend = PipelineBackend(
            client, codec_handles, cards, default_model, sounds, records.lease_s, lazy=lazy, recorder=sound_recorder
        )
        self._settings = settings
        self._jobs_settings = jobs
        check_bind_address(_get_global_client().http_config.host, access.keys)
        database = open_database(records)
        leases = open_leases(records, database, recorder)
        health_meter = JobHealthMeter(self._backend.sound_health, sound_recorder)
        self._jobs = JobService(
            database, leases, self._backend.frames, codec_handles, records, jobs, health_meter, recorder=recorder
        )
        self._gate = Gate(access, KeyTable(database), AuditTable(database), timeout_s=records.timeout_s)

    def __serve_build_asgi_app__(self) -> FastAPI:
        app = create_app(
            self._backend,
            self._settings,
            behind_serve=True,
            jobs=self._jobs.jobs,
            jobs_settings=self._jobs_settings,
            gate=self._gate,
            lifespan=self._lifespan,
            recorder=self._recorder,
            metrics=MetricsPage(NodeAgents(agents).samples),
            metrics_token=self._metrics_token,
        )
        app.add_middleware(Disconnects, gone=RayError)
        return app

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve: the jobs that wait, of all replicas."""
        backlog = self._jobs.backlog.waiting
        found = {queue: (waiting.generations, waiting.audio_s) for queue, waiting in backlog.items()}
        return waiting_numbers(found, self._queues)

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Serve ends it before the replica's process when it stops a replica gracefully."""
        background = [asyncio.create_task(self._backend.complete_cards()), asyncio.create_task(self._set_gauges())]
        self._gate.start()
        try:
            async with self._jobs.running():
                yield
        finally:
            for task in background:
                task.cancel()
            await self._gate.close()

    async def _set_gauges(self) -> None:
        """Sets the gauges again and again: a gauge that is not set expires."""
        while True:
            for model, queue in self._queues:
                waiting = self._jobs.backlog.waiting.get((model, queue), NOTHING_WAITS)
                self._recorder.set(JOBS_WAITING, waiting.generations, model=model, queue=queue)
                self._recorder.set(JOBS_WAITING_AUDIO, waiting.audio_s, model=model, queue=queue)
                self._recorder.set(MODELS, 1, model=model)
            for queue in QUEUE_CLASSES:
                self._recorder.set(JOBS_UNDER_WAY, self._jobs.num_running(queue), queue=queue)
            with contextlib.suppress(NotReady):  # the gauge expires then, which is the right reading
                record_nodes(self._recorder, await nodes())
            await asyncio.sleep(REFRESH_S)
