"""The pipeline as a Ray Serve deployment, and each model's deployments as it reaches them through their handles."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace

import numpy as np
from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle
from ray.util import get_node_ip_address

from deployments.language_model.errors import EngineFailed, EngineFenced, EngineFull, OutOfMemory
from deployments.liveness.caller_watch import CallerWatch
from deployments.liveness.heartbeat import CallerHeartbeat
from deployments.liveness.stalls import StallDetector, within
from deployments.liveness.timings import TIMINGS
from deployments.malloc_tuning import map_large_blocks
from deployments.messages import (
    CodeFrames,
    CodeRequest,
    CodeWindow,
    DecodedWindow,
    EngineIdentity,
    GenerationStart,
    Heartbeat,
    MusicRequest,
    QueueClass,
    Resumption,
    SoundFormat,
)
from deployments.scaling_stats import waiting_numbers
from deployments.telemetry.deployment import RayRecorder
from serve_app.database.engines import open_leases
from serve_app.errors import NotReady, TooBusy, WorkerLostTwice
from serve_app.job import QUEUE_CLASSES
from serve_app.pipeline import generation_metrics
from serve_app.pipeline.finder import PipelineModel
from serve_app.pipeline.generation_metrics import CODEC_LOST, CODEC_SILENT, GENERATIONS_WAITING, IDENTITY_LOST
from serve_app.pipeline.pipeline import Pipeline
from serve_app.pipeline.workers import RetryTurns, WorkerLost
from serve_app.scaling.policy import NOTHING_WAITS
from serve_app.settings.model import Deadline
from serve_app.settings.storage import CacheSettings, DatabaseSettings
from serve_app.stores.opening import open_cache

_log = logging.getLogger("ray.serve.pipeline")  # below Serve's own, whose files and format it shares


class CodecHandle:
    """A model's codec decoder, reached through Serve. A window is retried when its replica is lost or held up."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle
        self._sound: SoundFormat | None = None

    async def decode(self, window: CodeWindow) -> DecodedWindow:
        """Waits while no replica is up. Raises: WorkerLostTwice after two losses: the window may have caused them."""
        lost = False
        while True:
            try:
                return await within(self._decode(window), TIMINGS.window_timeout_s)
            except asyncio.TimeoutError:
                CODEC_SILENT.tell(_log, patience_s=TIMINGS.window_timeout_s)
            except RayActorError as error:
                if lost:
                    raise WorkerLostTwice() from error
                lost = True
                CODEC_LOST.tell(_log, cause=type(error).__name__)

    async def sound_format(self) -> SoundFormat:
        """Waits until the codec is up. The answer is remembered."""
        if self._sound is None:
            self._sound = await self._handle.sound_format.remote()
        return self._sound

    async def _decode(self, window: CodeWindow) -> DecodedWindow:
        decoded: DecodedWindow = await self._handle.decode.remote(window)
        return decoded


@dataclass(frozen=True)
class ModelHandles:
    """Serve's handles of one model's deployments. batch: None if `realtime` makes both queue classes."""

    text_encoder: DeploymentHandle
    realtime: DeploymentHandle
    batch: DeploymentHandle | None
    codec_decoder: DeploymentHandle

    def all(self) -> list[DeploymentHandle]:
        handles = (self.text_encoder, self.realtime, self.batch, self.codec_decoder)
        return [handle for handle in handles if handle is not None]

    def language_model(self, queue: QueueClass) -> DeploymentHandle:
        return self.batch if queue == "batch" and self.batch is not None else self.realtime


@dataclass(frozen=True)
class StageHandles:
    """`ModelStages` through Serve's handles. heartbeat: of this process, to the language models that it calls."""

    deployments: ModelHandles
    codec: CodecHandle
    heartbeat: CallerHeartbeat

    async def encode(self, prompt: str) -> np.ndarray:
        try:
            states: np.ndarray = await self.deployments.text_encoder.encode.remote(prompt)
        except RayActorError as error:
            raise WorkerLost(type(error).__name__) from error
        return states

    async def generate(self, request: CodeRequest) -> AsyncGenerator[CodeFrames | Heartbeat, None]:
        async with self.heartbeat.call() as caller:
            language_model = self.deployments.language_model(request.queue)
            stream = language_model.options(stream=True).generate.remote(replace(request, caller=caller))
            try:
                async for item in stream:
                    yield item
            except (RayActorError, EngineFenced, EngineFailed) as error:
                raise WorkerLost(type(error).__name__) from error
            finally:
                stream.cancel()  # frees the slot if it is still held; of no effect on a stream that has ended

    async def sound_format(self) -> SoundFormat:
        return await self.codec.sound_format()

    async def identity(self, queue: QueueClass) -> EngineIdentity:
        while True:
            try:
                identity: EngineIdentity = await self.deployments.language_model(queue).identity.remote()
                return identity
            except RayActorError:
                IDENTITY_LOST.tell(_log)


class PipelineDeployment:
    """A `Pipeline` for all models. handles, deadlines: by model. may_be_none: deployments that may have no replica."""

    def __init__(
        self,
        handles: Mapping[str, ModelHandles],
        deadlines: Mapping[str, Deadline],
        cache: CacheSettings,
        records: DatabaseSettings,
        may_be_none: Collection[str],
    ) -> None:
        self._handles = [handle for each in handles.values() for handle in each.all()]
        self._may_be_none = frozenset(may_be_none)
        self._places = [(model, queue) for model in handles for queue in QUEUE_CLASSES]
        map_large_blocks()
        self._heartbeat = CallerHeartbeat(get_node_ip_address())
        self._caller_watch = CallerWatch()
        self._stages = {
            model: StageHandles(each, CodecHandle(each.codec_decoder), self._heartbeat)
            for model, each in handles.items()
        }
        self._recorder = RayRecorder()
        generation_metrics.start_series(self._recorder, self._places)
        leases = open_leases(records, recorder=self._recorder)
        models = {
            name: PipelineModel(stages, deadlines[name], RetryTurns(name, leases))
            for name, stages in self._stages.items()
        }
        self._stall_detector = StallDetector()
        self._pipeline = Pipeline(models, open_cache(cache, self._recorder), leases, recorder=self._recorder)

    async def codes(
        self, request: MusicRequest, resumption: Resumption | None = None, caller: str = ""
    ) -> AsyncGenerator[GenerationStart | CodeFrames | Heartbeat, None]:
        """As `Pipeline.stream`. It ends when it is cancelled, or when its caller is gone.

        caller: as `CallerHeartbeat.call` gives it; empty: the call is wanted until it is cancelled.
        Raises: TooBusy when the model's queue is full; NotReady when it has no memory for the clip now.
        """
        if self._stall_detector.stalled_recently() and not await self._caller_watch.is_wanted(caller):
            return
        try:
            stream = self._pipeline.stream(request, resumption)
            async with aclosing(self._caller_watch.while_caller_alive(stream, caller)) as items:
                async for item in items:
                    yield item
        except EngineFull as error:
            raise TooBusy("All places at this model are taken, in the queue too; try again in a moment.") from error
        except OutOfMemory as error:
            raise NotReady("The model has no memory for this clip now; try again in a moment.") from error

    async def identity(self, model: str, queue: QueueClass) -> EngineIdentity:
        """The identity of the model's engines of that queue class. Waits until one is up."""
        return await self._pipeline.identity(model, queue)

    async def load(self) -> int:
        """Running generations. Raises: AssertionError where one that has ended left something behind."""
        return self._pipeline.load()

    async def ready(self) -> dict[str, bool]:
        """Whether each deployment answers, by name. Those that may have no replica are left out, and not woken."""
        handles = [handle for handle in self._handles if handle.deployment_name not in self._may_be_none]
        up = await asyncio.gather(*map(is_up, handles))
        return {handle.deployment_name: answers for handle, answers in zip(handles, up, strict=True)}

    def check_health(self) -> None:
        """Called by Serve every few seconds; sets the gauges."""
        waiting = self._pipeline.waiting()
        for model, queue in self._places:
            number = waiting.get((model, queue), NOTHING_WAITS).generations
            self._recorder.set(GENERATIONS_WAITING, number, model=model, queue=queue)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve: generations that no engine has accepted."""
        waiting = self._pipeline.waiting()
        found = {place: (each.generations, each.audio_s) for place, each in waiting.items()}
        return waiting_numbers(found, self._places)


async def is_up(handle: DeploymentHandle) -> bool:
    """Whether a replica answers a ping in time."""
    try:
        await within(handle.ping.remote(), TIMINGS.ping_timeout_s)
    except (asyncio.TimeoutError, RayActorError):
        return False
    return True
