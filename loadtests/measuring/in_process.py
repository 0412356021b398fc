"""A model's whole way from words to sound in one process, to measure what Ray and HTTP add to it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import numpy as np
import torch

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.codec_decoder.codec import Codec, decode_window
from deployments.codec_decoder.windows import num_frames
from deployments.language_model.config import DecoderConfig
from deployments.language_model.engine.engine import Engine
from deployments.language_model.engine.loop import EngineLoop
from deployments.language_model.loading import INT8, fastest_dtype, make_decoder, set_torch_threads, warm_up
from deployments.language_model.weights import load_weights
from deployments.liveness.self_fencing import SelfFencing
from deployments.messages import (
    CodeFrames,
    CodeRequest,
    CodeWindow,
    DecodedWindow,
    EngineIdentity,
    Heartbeat,
    MusicRequest,
    QueueClass,
    Sampling,
    SoundFormat,
)
from deployments.text_encoder.encoder import TextEncoder
from serve_app.database.lease_table import HeldLease
from serve_app.database.leases import LeaseRenewer
from serve_app.pipeline.generation import Generation, Work
from serve_app.pipeline.subscribers import Subscription
from serve_app.pipeline.workers import RetryTurns
from serve_app.settings.model import Deadline
from serve_app.sound.windows import decode_stream

MODEL = "here"


class InProcess:
    """The stages that the pipeline needs, and the codec that the ingress needs."""

    def __init__(self, encoder: TextEncoder, engine: EngineLoop, codec: Codec) -> None:
        self._encoder = encoder
        self._engine = engine
        self._codec = codec

    async def encode(self, prompt: str) -> np.ndarray:
        (states,) = await asyncio.to_thread(self._encoder.encode, [prompt])
        return states

    async def generate(self, request: CodeRequest) -> AsyncGenerator[CodeFrames | Heartbeat, None]:
        async with aclosing(self._engine.generate(request)) as items:
            async for item in items:
                yield item

    async def identity(self, queue: QueueClass) -> EngineIdentity:
        del queue
        return EngineIdentity("", self._engine.numerics, 0)

    async def sound_format(self) -> SoundFormat:
        codec = self._codec
        return SoundFormat(codec.sample_rate, codec.channels, codec.frame_rate, codec.lookahead)

    async def decode(self, window: CodeWindow) -> DecodedWindow:
        return await asyncio.to_thread(decode_window, self._codec, window)

    async def arrivals_s(self, prompt: str, duration_ms: int, seed: int) -> list[float]:
        """Seconds from the request to each piece of its sound."""
        request = MusicRequest(f"clip-{seed}", MODEL, prompt, duration_ms, seed, Sampling())
        began_s = time.perf_counter()
        sound = await self.sound_format()
        work = Work(request.request_id, MODEL, prompt, seed, request.sampling, await self.identity("realtime"))
        generation = Generation(work, self, RetryTurns(MODEL, _NoLeases()), Deadline())
        subscription = generation.join(num_frames(duration_ms, sound.frame_rate))
        assert subscription is not None
        making = asyncio.create_task(generation.run())
        try:
            async with aclosing(decode_stream(_frames(subscription), request, sound, self)) as pieces:
                return [time.perf_counter() - began_s async for _ in pieces]
        finally:
            await making


class _NoLeases:
    """There is no other replica to agree with."""

    async def take(self, name: str, *, value: str = "") -> None:
        del name, value

    def kept(self, held: HeldLease) -> LeaseRenewer:
        raise NotImplementedError("nothing is held")


async def _frames(subscription: Subscription) -> AsyncGenerator[CodeFrames, None]:
    async with aclosing(subscription.stream()) as items:
        async for item in items:
            if isinstance(item, CodeFrames):
                yield item


@contextmanager
def in_process(folder: Path, max_duration_ms: int) -> Iterator[InProcess]:
    """Warm. On a CPU, with the type of weights and the threads that the service would choose."""
    checkpoint = Checkpoint.open(folder)
    config = DecoderConfig.from_transformers(checkpoint.config)
    max_frames = -(-max_duration_ms * checkpoint.codec_config.frame_rate // 1000)
    num_threads, dtype = torch.get_num_threads(), fastest_dtype(config, "cpu")

    def build() -> Engine:
        weights = load_weights(checkpoint, "float32" if dtype == INT8 else dtype)
        decoder = make_decoder(config, weights, dtype, max_frames, num_threads)
        engine = Engine(decoder, num_slots=1, max_frames=max_frames)
        warm_up(engine)
        return engine

    set_torch_threads(dtype, num_threads)
    try:
        with EngineLoop(build, fencing=SelfFencing(math.inf)) as loop:  # nobody would take its requests over
            yield InProcess(TextEncoder.from_checkpoint(checkpoint), loop, Codec.from_checkpoint(checkpoint))
    finally:
        torch.set_num_threads(num_threads)
