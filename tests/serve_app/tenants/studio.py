"""What makes the music of a house: stages whose fate is their seed's, a codec of a few lines, and a client for both."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

import numpy as np

from deployments.messages import (
    CodeFrames,
    CodeRequest,
    CodeWindow,
    DecodedWindow,
    DecoderState,
    EngineIdentity,
    Heartbeat,
    MusicRequest,
    QueueClass,
    Resumption,
    SoundFormat,
)
from serve_app.pipeline.pipeline import Pipeline
from serve_app.sound.containers import to_int16
from serve_app.sound.resuming import PipelineItem
from tests.serve_app.pipeline.scripted_stages import SOUND, Crashes, ScriptedStages, codes_of

HELD_SEED = 1000
FAILING_SEED = 13
DEADLY_SEED = 666


class Studio(ScriptedStages):
    """Music of HELD_SEED is begun and waits for `release`; FAILING_SEED raises; DEADLY_SEED takes the worker with it.

    num_held: generations that wait.
    """

    def __init__(self) -> None:
        super().__init__(step_s=0)
        self.num_held = 0
        self._released = asyncio.Event()

    def release(self) -> None:
        """Lets those that wait go on; later ones wait again."""
        self._released.set()
        self._released = asyncio.Event()

    async def generate(self, request: CodeRequest) -> AsyncGenerator[CodeFrames | Heartbeat, None]:
        if request.seed == FAILING_SEED:
            raise RuntimeError("a worker's own fault")
        if request.seed == HELD_SEED:
            async with aclosing(self._hold()) as beats:
                async for beat in beats:
                    yield beat
        if request.seed == DEADLY_SEED:
            self.behaviours = [Crashes(0)]
        async with aclosing(super().generate(request)) as items:
            async for item in items:
                yield item

    async def _hold(self) -> AsyncGenerator[Heartbeat, None]:
        released = asyncio.ensure_future(self._released.wait())
        self.num_held += 1
        try:
            while not released.done():
                yield Heartbeat(running=True)
                await asyncio.wait({released}, timeout=1)
        finally:
            self.num_held -= 1
            released.cancel()
            await asyncio.gather(released, return_exceptions=True)


class Steps:
    """A codec: each frame is a step as high as its first code. A clip's first frames don't depend on the others."""

    async def sound_format(self) -> SoundFormat:
        return SOUND

    async def decode(self, window: CodeWindow) -> DecodedWindow:
        start = 0 if window.state is None else window.state.num_frames
        nothing = np.zeros((1, 0), np.float32)
        return DecodedWindow(_steps(window.codes[:, start : window.end]), DecoderState(window.end, nothing, nothing))


def pcm_of(seed: int, duration_ms: int) -> bytes:
    """The file that music of this seed is, as pcm: what every way to it must come to."""
    return to_int16(steps_of(seed, duration_ms)).tobytes()


def steps_of(seed: int, duration_ms: int) -> np.ndarray:
    """Its sound. float32 [1, samples]."""
    steps = _steps(codes_of(seed, -(-duration_ms * SOUND.frame_rate // 1000)))
    return steps[:, : duration_ms * SOUND.sample_rate // 1000]


def _steps(codes: np.ndarray) -> np.ndarray:
    return np.repeat(codes[:1].astype(np.float32) / 4096, SOUND.hop, axis=1)


class Clients:
    """Leads one affinity to one pipeline, as Serve's router does. num_listening: that wait for music, or get it."""

    def __init__(self, pipelines: Sequence[Pipeline]) -> None:
        self._pipelines = pipelines
        self.num_listening = 0

    async def codes(
        self, request: MusicRequest, resumption: Resumption | None, affinity: str
    ) -> AsyncGenerator[PipelineItem, None]:
        self.num_listening += 1
        try:
            async with aclosing(self._one(affinity).stream(request, resumption)) as items:
                async for item in items:
                    yield item
        finally:
            self.num_listening -= 1

    async def identity(self, model: str, queue: QueueClass, affinity: str) -> EngineIdentity:
        return await self._one(affinity).identity(model, queue)

    async def ready(self) -> Mapping[str, bool]:
        return {"pipeline": True}

    def _one(self, affinity: str) -> Pipeline:
        return self._pipelines[hashlib.sha256(affinity.encode()).digest()[0] % len(self._pipelines)]
