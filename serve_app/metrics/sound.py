"""How the clips sound that were made, as figures."""

from __future__ import annotations

from deployments.metrics.catalogue import (
    CLIP_CLIPPING,
    CLIP_FLATNESS,
    CLIP_HARMONICITY,
    CLIP_SILENCE,
    CLIPS,
    CLIPS_COLLAPSED,
)
from deployments.metrics.recorder import Recorder
from serve_app.audio.health import SoundHealth


class SoundFigures:
    """A `serve_app.audio.recorder.SoundRecorder`. models: that are served; their series begin at once."""

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
