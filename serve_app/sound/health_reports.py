"""Who is told how the clips sound that are made.

How the clips sound that were made, as figures.

Sound on its way to whoever takes it, listened to on the side.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from logging import WARNING
from typing import Protocol

from deployments.messages import GenerationStart, MusicRequest, PcmChunk
from deployments.telemetry.log_event import LogEvent
from deployments.telemetry.metric import Metric, Recorder
from serve_app.cache.keys import short_id
from serve_app.job import SoundHealth
from serve_app.sound.health import HealthMeter

_SHARES = (0.0001, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.999)
CLIP_COLLAPSED = LogEvent(
    "clip_collapsed",
    WARNING,
    "generation %(generation).16s: the clip has collapsed: it is silent or hangs, to its end",
    "The sound is not what one wants to hear; many of them are a fault of a model or of its numerics.",
    more=("model", "request_id", "silent_share"),
)
CLIPS = Metric("musicgen_clips_total", "counter", "Clips that were made, and listened to.", "clips", ("model",))
CLIPS_COLLAPSED = Metric(
    "musicgen_clips_collapsed_total",
    "counter",
    "Clips that were made and are silent, or stuck at their end.",
    "clips",
    ("model",),
)
CLIP_SILENCE = Metric(
    "musicgen_clip_silent_share",
    "histogram",
    "Of each clip made, the part that is silent.",
    "ratio",
    ("model",),
    _SHARES,
)
CLIP_CLIPPING = Metric(
    "musicgen_clip_clipped_share",
    "histogram",
    "Of each clip made, the part of its samples that are clipped.",
    "ratio",
    ("model",),
    _SHARES,
)
CLIP_FLATNESS = Metric(
    "musicgen_clip_flatness",
    "histogram",
    "Of each clip made that sounds, its spectral flatness: 1 is white noise.",
    "ratio",
    ("model",),
    _SHARES,
)
CLIP_HARMONICITY = Metric(
    "musicgen_clip_harmonicity",
    "histogram",
    "Of each clip made that sounds, how periodic it is: 1 is a tone.",
    "ratio",
    ("model",),
    _SHARES,
)


class SoundRecorder(Protocol):
    """Told once of each clip that was made, in whichever process: what was kept or is another's is no clip made."""

    def sound_made(self, model: str, duration_s: float, health: SoundHealth) -> None:
        """duration_s: of its sound. On an event loop: it neither waits nor raises."""
        ...


class Unrecorded:
    """Passes over all of it."""

    def sound_made(self, model: str, duration_s: float, health: SoundHealth) -> None:
        del model, duration_s, health


UNRECORDED = Unrecorded()


class SoundFigures:
    """A `serve_app.sound.health_reports.SoundRecorder`. models: that are served; their series begin at once."""

    def __init__(self, recorder: Recorder, models: tuple[str, ...] = ()) -> None:
        self._recorder = recorder
        for model in models:
            recorder.add(CLIPS, 0, model=model)
            recorder.add(CLIPS_COLLAPSED, 0, model=model)

    def sound_made(self, model: str, duration_s: float, health: SoundHealth) -> None:
        """One clip of this model has been made, to its end. duration_s: of its sound; the codes' is counted already."""
        recorder = self._recorder
        recorder.add(CLIPS, model=model)
        recorder.add(CLIPS_COLLAPSED, int(health.collapsed), model=model)
        recorder.observe(CLIP_SILENCE, health.silent_share, model=model)
        recorder.observe(CLIP_CLIPPING, health.clipped_share, model=model)
        if health.flatness is not None:
            recorder.observe(CLIP_FLATNESS, health.flatness, model=model)
        if health.harmonicity is not None:
            recorder.observe(CLIP_HARMONICITY, health.harmonicity, model=model)


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
