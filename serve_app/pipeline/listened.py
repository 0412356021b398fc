"""Sound on its way to whoever takes it, listened to on the side."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from deployments.logs.catalogue import CLIP_COLLAPSED
from deployments.messages import GenerationStart, MusicRequest, PcmChunk
from serve_app.audio.health import SoundHealth
from serve_app.audio.health_meter import HealthMeter
from serve_app.audio.recorder import SoundRecorder
from serve_app.cache.keys import short_id

_log = logging.getLogger("ray.serve.sound")  # below Serve's own, whose files and format it shares


def is_new(start: GenerationStart) -> bool:
    """Whether this request had the music made, or some of it: of all who hear it, one's did."""
    return start.outcome in ("miss", "extended")


def tell_sound_made(
    recorder: SoundRecorder, request: MusicRequest, start: GenerationStart, health: SoundHealth
) -> None:
    """That this request had a clip made, which sounds so. The log has only the collapsed ones."""
    recorder.sound_made(request.model, request.duration_ms / 1000, health)
    if health.collapsed:
        CLIP_COLLAPSED.tell(
            _log,
            generation=short_id(start.key),
            model=request.model,
            request_id=request.request_id,
            silent_share=round(health.silent_share, 4),
        )


async def listened(
    chunks: AsyncGenerator[PcmChunk, None], tell: Callable[[SoundHealth], None]
) -> AsyncGenerator[PcmChunk, None]:
    """The same chunks, at least one. When all have been taken, and only then, it is told how they sound together.

    A chunk is listened to when it has been taken, so the first sound is not late for it. Closes the chunks.
    Raises: what they raise; ValueError for what is no sound (see `HealthMeter`).
    """
    meter: HealthMeter | None = None
    async with aclosing(chunks):
        async for chunk in chunks:
            yield chunk
            meter = meter or HealthMeter(chunk.sample_rate)
            await asyncio.to_thread(meter.add, chunk.pcm)
    assert meter is not None, "a clip has a chunk"
    tell(await asyncio.to_thread(meter.health))
