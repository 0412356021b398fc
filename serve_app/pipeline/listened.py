"""Sound on its way to whoever takes it, listened to on the side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from deployments.messages import GenerationStart, PcmChunk
from serve_app.audio.health import SoundHealth
from serve_app.audio.health_meter import HealthMeter


def is_new(start: GenerationStart) -> bool:
    """Whether this request had the music made, or some of it: of all who hear it, one's did."""
    return start.outcome in ("miss", "extended")


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
