"""The pipeline as a Ray Serve deployment: reaches each model's deployments through their handles."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np
from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle

from deployments.language_model.scheduler import EngineFull
from deployments.messages import CodeFrames, CodeRequest, CodeWindow, DecodedWindow, MusicRequest, SoundFormat
from serve_app.api.errors import NotReady, TooBusy
from serve_app.pipeline.pipeline import Pipeline

PING_TIMEOUT_S = 2.0

_log = logging.getLogger(__name__)


class CodecHandle:
    """A model's codec decoder, reached through Serve. A window whose replica is lost goes to another one."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle
        self._sound: SoundFormat | None = None

    async def decode(self, window: CodeWindow) -> DecodedWindow:
        """Raises: RayActorError when the second replica is lost too: the window may be what kills them."""
        try:
            return await self._decode(window)
        except RayActorError as error:
            _log.warning("a codec replica was lost (%s); its window goes to another", type(error).__name__)
            return await self._decode(window)

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

    async def encode(self, prompt: str) -> np.ndarray:
        states: np.ndarray = await self.text_encoder.encode.remote(prompt)
        return states

    async def generate(self, request: CodeRequest) -> AsyncGenerator[CodeFrames, None]:
        stream = self.language_model.options(stream=True).generate.remote(request)
        try:
            async for frames in stream:
                yield frames
        finally:
            stream.cancel()  # frees the slot if it is still held; of no effect on a stream that has ended

    async def sound_format(self) -> SoundFormat:
        return await self.codec.sound_format()

    def by_name(self) -> dict[str, DeploymentHandle]:
        return {each.deployment_name: each for each in (self.text_encoder, self.language_model, self.codec_decoder)}


class PipelineDeployment:
    """handles: by model, its text encoder, language model and codec decoder, in this order."""

    def __init__(self, handles: Mapping[str, tuple[DeploymentHandle, DeploymentHandle, DeploymentHandle]]) -> None:
        self._stages = {model: StageHandles(*three, CodecHandle(three[2])) for model, three in handles.items()}
        self._pipeline = Pipeline(self._stages)

    async def codes(self, request: MusicRequest) -> AsyncGenerator[CodeFrames, None]:
        """The request's frames as they are made. Cancelled, it frees the slot.

        Raises: TooBusy when the model's queue is full; NotReady when a replica was lost on the way.
        """
        try:
            async with aclosing(self._pipeline.codes(request)) as frames:
                async for part in frames:
                    yield part
        except EngineFull as error:
            raise TooBusy("All places at this model are taken, in the queue too; try again in a moment.") from error
        except RayActorError as error:
            raise NotReady("A worker was lost while it made this clip; try again.") from error

    async def ready(self) -> dict[str, bool]:
        """Which deployments answer, by name."""
        handles = {name: handle for stages in self._stages.values() for name, handle in stages.by_name().items()}
        up = await asyncio.gather(*(is_up(handle) for handle in handles.values()))
        return dict(zip(handles, up, strict=True))


async def is_up(handle: DeploymentHandle) -> bool:
    """Whether a replica answers within PING_TIMEOUT_S."""
    try:
        await asyncio.wait_for(handle.ping.remote(), PING_TIMEOUT_S)
    except (asyncio.TimeoutError, RayActorError):
        return False
    return True
