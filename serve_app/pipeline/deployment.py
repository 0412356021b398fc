"""The pipeline as a Ray Serve deployment: reaches each model's deployments through their handles."""

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

from deployments.language_model.errors import EngineFailed, EngineFull, Lapsed, OutOfMemory
from deployments.liveness.caller_watch import Attendance
from deployments.liveness.heartbeat import Presence
from deployments.liveness.stalls import Wakeup, within
from deployments.malloc_tuning import map_large_blocks
from deployments.messages import (
    Beat,
    CodeFrames,
    CodeRequest,
    CodeWindow,
    DecodedWindow,
    EngineIdentity,
    GenerationStart,
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
from serve_app.pipeline.generation_metrics import CODEC_LOST, CODEC_SILENT, GENERATIONS_WAITING, IDENTITY_LOST
from serve_app.pipeline.model_request import Model
from serve_app.pipeline.pipeline import Pipeline
from serve_app.pipeline.workers import Suspects, WorkerLost
from serve_app.scaling.policy import NOTHING_WAITS
from serve_app.settings.model import Deadline
from serve_app.settings.storage import CacheSettings, RecordsSettings
from serve_app.stores.opening import open_cache

PING_TIMEOUT_S = 2.0
# A window is decoded in tens of milliseconds; a replica that takes so long for one is held up.
WINDOW_S = 30.0

_log = logging.getLogger("ray.serve.pipeline")  # below Serve's own, whose files and format it shares


class CodecHandle:
    """A model's codec decoder, reached through Serve. A window whose replica is lost or held up goes to another one."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle
        self._sound: SoundFormat | None = None

    async def decode(self, window: CodeWindow) -> DecodedWindow:
        """Waits while none is up. Raises: WorkerLostTwice when two are lost: the window may be what kills them."""
        lost = False
        while True:
            try:
                return await within(self._decode(window), WINDOW_S)
            except asyncio.TimeoutError:
                CODEC_SILENT.tell(_log, patience_s=WINDOW_S)
            except RayActorError as error:
                if lost:
                    raise WorkerLostTwice() from error
                lost = True
                CODEC_LOST.tell(_log, cause=type(error).__name__)

    async def sound_format(self) -> SoundFormat:
        """Waits until the codec is up; asked for once."""
        if self._sound is None:
            self._sound = await self._handle.sound_format.remote()
        return self._sound

    async def _decode(self, window: CodeWindow) -> DecodedWindow:
        decoded: DecodedWindow = await self._handle.decode.remote(window)
        return decoded


@dataclass(frozen=True)
class ModelHandles:
    """One model's deployments. batch: the language model of that queue class; None: the first one makes both."""

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
    """One model's deployments, reached through Serve."""

    deployments: ModelHandles
    codec: CodecHandle
    presence: Presence

    async def encode(self, prompt: str) -> np.ndarray:
        try:
            states: np.ndarray = await self.deployments.text_encoder.encode.remote(prompt)
        except RayActorError as error:
            raise WorkerLost(type(error).__name__) from error
        return states

    async def generate(self, request: CodeRequest) -> AsyncGenerator[CodeFrames | Beat, None]:
        async with self.presence.call() as caller:
            language_model = self.deployments.language_model(request.queue)
            stream = language_model.options(stream=True).generate.remote(replace(request, caller=caller))
            try:
                async for item in stream:
                    yield item
            except (RayActorError, Lapsed, EngineFailed) as error:
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
    """handles, deadlines: by model. may_be_none: deployments that are as they should be without a replica."""

    def __init__(
        self,
        handles: Mapping[str, ModelHandles],
        deadlines: Mapping[str, Deadline],
        cache: CacheSettings,
        records: RecordsSettings,
        may_be_none: Collection[str],
    ) -> None:
        self._handles = [handle for each in handles.values() for handle in each.all()]
        self._may_be_none = frozenset(may_be_none)
        self._places = [(model, queue) for model in handles for queue in QUEUE_CLASSES]
        map_large_blocks()
        self._presence = Presence(get_node_ip_address())
        self._attendance = Attendance()
        self._stages = {
            model: StageHandles(each, CodecHandle(each.codec_decoder), self._presence)
            for model, each in handles.items()
        }
        self._recorder = RayRecorder()
        generation_metrics.begin(self._recorder, self._places)
        leases = open_leases(records, recorder=self._recorder)
        models = {name: Model(stages, deadlines[name], Suspects(name, leases)) for name, stages in self._stages.items()}
        self._wakeup = Wakeup()
        self._pipeline = Pipeline(models, open_cache(cache, self._recorder), leases, recorder=self._recorder)

    async def codes(
        self, request: MusicRequest, resumption: Resumption | None = None, caller: str = ""
    ) -> AsyncGenerator[GenerationStart | CodeFrames | Beat, None]:
        """As `Pipeline.listen`. Cancelled, or when who asked is gone, it gives its place up. caller: see `presence`.

        Raises: TooBusy when the model's queue is full; NotReady when it has no memory for the clip now.
        """
        if self._wakeup.is_recent() and not await self._attendance.is_wanted(caller):
            return
        try:
            listening = self._pipeline.listen(request, resumption)
            async with aclosing(self._attendance.while_attended(listening, caller)) as items:
                async for item in items:
                    yield item
        except EngineFull as error:
            raise TooBusy("All places at this model are taken, in the queue too; try again in a moment.") from error
        except OutOfMemory as error:
            raise NotReady("The model has no memory for this clip now; try again in a moment.") from error

    async def identity(self, model: str, queue: QueueClass) -> EngineIdentity:
        """Of the model's engines of that queue class; waits until one is up."""
        return await self._pipeline.identity(model, queue)

    async def load(self) -> int:
        """Generations under way. Raises: AssertionError where something is left of those that have ended."""
        return self._pipeline.load()

    async def ready(self) -> dict[str, bool]:
        """Which deployments answer, by name; those that need not are left asleep, and out."""
        handles = [handle for handle in self._handles if handle.deployment_name not in self._may_be_none]
        up = await asyncio.gather(*map(is_up, handles))
        return {handle.deployment_name: answers for handle, answers in zip(handles, up, strict=True)}

    def check_health(self) -> None:
        """Called by Serve, every few seconds, which is when gauges are told."""
        waiting = self._pipeline.waiting()
        for model, queue in self._places:
            number = waiting.get((model, queue), NOTHING_WAITS).generations
            self._recorder.set(GENERATIONS_WAITING, number, model=model, queue=queue)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve: generations that no engine has."""
        waiting = self._pipeline.waiting()
        found = {place: (each.generations, each.audio_s) for place, each in waiting.items()}
        return waiting_numbers(found, self._places)


async def is_up(handle: DeploymentHandle) -> bool:
    """Whether a replica answers within PING_TIMEOUT_S."""
    try:
        await within(handle.ping.remote(), PING_TIMEOUT_S)
    except (asyncio.TimeoutError, RayActorError):
        return False
    return True
