"""The pipeline as a Ray Serve deployment: reaches each model's deployments through their handles."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace

import numpy as np
from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle
from ray.util import get_node_ip_address

from deployments.attendance import Attendance
from deployments.language_model.errors import EngineFailed, EngineFull, Lapsed, OutOfMemory
from deployments.messages import (
    Beat,
    CodeFrames,
    CodeRequest,
    CodeWindow,
    DecodedWindow,
    EngineIdentity,
    GenerationStart,
    MusicRequest,
    Resumption,
    SoundFormat,
)
from deployments.patience import within
from deployments.presence import Presence
from deployments.wakeup import Wakeup
from serve_app.api.errors import NotReady, TooBusy, WorkerLostTwice
from serve_app.cache.opening import open_cache
from serve_app.cache.settings import CacheSettings
from serve_app.pipeline.asked import Model
from serve_app.pipeline.deadline import Deadline
from serve_app.pipeline.pipeline import Pipeline
from serve_app.pipeline.stages import WorkerLost
from serve_app.pipeline.suspects import Suspects
from serve_app.records.opening import open_leases
from serve_app.records.settings import RecordsSettings

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
                _log.warning("no codec replica has decoded a window in %g s; it is asked for again", WINDOW_S)
            except RayActorError as error:
                if lost:
                    raise WorkerLostTwice() from error
                lost = True
                _log.warning("a codec replica was lost (%s); its window goes to another", type(error).__name__)

    async def sound_format(self) -> SoundFormat:
        """Waits until the codec is up; asked for once."""
        if self._sound is None:
            self._sound = await self._handle.sound_format.remote()
        return self._sound

    async def _decode(self, window: CodeWindow) -> DecodedWindow:
        decoded: DecodedWindow = await self._handle.decode.remote(window)
        return decoded


@dataclass(frozen=True)
class StageHandles:
    """One model's deployments, reached through Serve."""

    text_encoder: DeploymentHandle
    language_model: DeploymentHandle
    codec_decoder: DeploymentHandle
    codec: CodecHandle
    presence: Presence

    async def encode(self, prompt: str) -> np.ndarray:
        try:
            states: np.ndarray = await self.text_encoder.encode.remote(prompt)
        except RayActorError as error:
            raise WorkerLost(type(error).__name__) from error
        return states

    async def generate(self, request: CodeRequest) -> AsyncGenerator[CodeFrames | Beat, None]:
        async with self.presence.call() as caller:
            stream = self.language_model.options(stream=True).generate.remote(replace(request, caller=caller))
            try:
                async for item in stream:
                    yield item
            except (RayActorError, Lapsed, EngineFailed) as error:
                raise WorkerLost(type(error).__name__) from error
            finally:
                stream.cancel()  # frees the slot if it is still held; of no effect on a stream that has ended

    async def sound_format(self) -> SoundFormat:
        return await self.codec.sound_format()

    async def identity(self) -> EngineIdentity:
        while True:
            try:
                identity: EngineIdentity = await self.language_model.identity.remote()
                return identity
            except RayActorError:
                _log.warning("a language-model replica was lost when it was asked what it is; another one is asked")

    def by_name(self) -> dict[str, DeploymentHandle]:
        return {each.deployment_name: each for each in (self.text_encoder, self.language_model, self.codec_decoder)}


class PipelineDeployment:
    """handles: by model, its text encoder, language model and codec decoder, in this order. deadlines: by model."""

    def __init__(
        self,
        handles: Mapping[str, tuple[DeploymentHandle, DeploymentHandle, DeploymentHandle]],
        deadlines: Mapping[str, Deadline],
        cache: CacheSettings,
        records: RecordsSettings,
    ) -> None:
        self._presence = Presence(get_node_ip_address())
        self._attendance = Attendance()
        self._stages = {
            model: StageHandles(*three, CodecHandle(three[2]), self._presence) for model, three in handles.items()
        }
        leases = open_leases(records)
        models = {name: Model(stages, deadlines[name], Suspects(name, leases)) for name, stages in self._stages.items()}
        self._wakeup = Wakeup()
        self._pipeline = Pipeline(models, open_cache(cache), leases)

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

    async def identity(self, model: str) -> EngineIdentity:
        """Of the model's engines; waits until one is up."""
        return await self._pipeline.identity(model)

    async def load(self) -> int:
        """Generations under way. Raises: AssertionError where something is left of those that have ended."""
        return self._pipeline.load()

    async def ready(self) -> dict[str, bool]:
        """Which deployments answer, by name."""
        handles = {name: handle for stages in self._stages.values() for name, handle in stages.by_name().items()}
        up = await asyncio.gather(*(is_up(handle) for handle in handles.values()))
        return dict(zip(handles, up, strict=True))


async def is_up(handle: DeploymentHandle) -> bool:
    """Whether a replica answers within PING_TIMEOUT_S."""
    try:
        await within(handle.ping.remote(), PING_TIMEOUT_S)
    except (asyncio.TimeoutError, RayActorError):
        return False
    return True
