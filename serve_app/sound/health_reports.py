"""Reports how the clips sound that are made: health measured while the sound passes, as metrics and in the log."""

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
    "generation %(generation).16s: the clip has collapsed: it is silent or stuck, to its end",
    "The clip does not sound as it should; many of them are a fault of a model or of its numerics.",
    more=("model", "request_id", "silent_share"),
)
CLIPS = Metric(
    "musicgen_clips_total", "counter", "Clips that were made, and whose health was measured.", "clips", ("model",)
)
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


_log = logging.getLogger("ray.serve.sound")  # below Serve's own, whose files and format it shares


class SoundRecorder(Protocol):
    """Is told once of each new clip, in whichever process. Cached clips, and those of joined requests, do not count."""

    def sound_made(self, model: str, duration_s: float, health: SoundHealth) -> None:
        """Called on an event loop: neither waits nor raises. duration_s: of the clip."""
        ...


class NoSoundRecorder:
    """Records nothing."""

    def sound_made(self, model: str, duration_s: float, health: SoundHealth) -> None:
        del model, duration_s, health


UNRECORDED = NoSoundRecorder()


class SoundMetrics:
    """A `SoundRecorder` of metrics. models: those that are served; their series start at once, at 0."""

    def __init__(self, recorder: Recorder, models: tuple[str, ...] = ()) -> None:
        self._recorder = recorder
        for model in models:
            recorder.add(CLIPS, 0, model=model)
            recorder.add(CLIPS_COLLAPSED, 0, model=model)

    def sound_made(self, model: str, duration_s: float, health: SoundHealth) -> None:
        """One whole clip of this model has been made. duration_s: not used here, as codes are counted already."""
        recorder = self._recorder
        recorder.add(CLIPS, model=model)
        recorder.add(CLIPS_COLLAPSED, int(health.collapsed), model=model)
        recorder.observe(CLIP_SILENCE, health.silent_share, model=model)
        recorder.observe(CLIP_CLIPPING, health.clipped_share, model=model)
        if health.flatness is not None:
            recorder.observe(CLIP_FLATNESS, health.flatness, model=model)
        if health.harmonicity is not None:
            recorder.observe(CLIP_HARMONICITY, health.harmonicity, model=model)


def made_new_music(start: GenerationStart) -> bool:
    """Whether this request had music made. Of all requests for one generation, only the first did."""
    return start.outcome in ("miss", "extended")


def report_health(recorder: SoundRecorder, request: MusicRequest, start: GenerationStart, health: SoundHealth) -> None:
    """Records the health of a clip that this request had made, and logs it if the clip has collapsed."""
    recorder.sound_made(request.model, request.duration_ms / 1000, health)
    if health.collapsed:
        CLIP_COLLAPSED.tell(
            _log,
            generation=short_id(start.key),
            model=request.model,
            request_id=request.request_id,
            silent_share=round(health.silent_share, 4),
        )


async def measure_health(
    chunks: AsyncGenerator[PcmChunk, None], tell: Callable[[SoundHealth], None]
) -> AsyncGenerator[PcmChunk, None]:
    """Passes chunks on, and calls `tell` with the clip's health once all of them were taken.

    A chunk is measured after it was taken, so that this delays no sound.

    Args:
        chunks: of one clip, at least one. Closed at the end.
        tell: not called for a clip that was not taken to its end.

    Raises: what the chunks raise; ValueError for what is not sound (see `HealthMeter`).
    """
    meter: HealthMeter | None = None
    async with aclosing(chunks):
        async for chunk in chunks:
            yield chunk
            meter = meter or HealthMeter(chunk.sample_rate)
            await asyncio.to_thread(meter.add, chunk.pcm)
    assert meter is not None, "a clip has a chunk"
    tell(await asyncio.to_thread(meter.health))
