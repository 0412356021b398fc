from __future__ import annotations

from serve_app.job import SoundHealth
from serve_app.sound.health_reports import (
    CLIP_CLIPPING,
    CLIP_FLATNESS,
    CLIP_HARMONICITY,
    CLIP_SILENCE,
    CLIPS,
    CLIPS_COLLAPSED,
    SoundFigures,
)
from tests.deployments.telemetry.recorded import Recorded


def test_a_clip_that_sounds_has_all_four_figures() -> None:
    recorded = Recorded()
    figures = SoundFigures(recorded, ("m",))
    assert recorded.total(CLIPS) == recorded.total(CLIPS_COLLAPSED) == {("m",): 0}
    figures.sound_made("m", 2.0, SoundHealth(0.25, 0.01, 0.5, 0.75, collapsed=False))
    assert recorded.total(CLIPS) == {("m",): 1}
    assert recorded.total(CLIPS_COLLAPSED) == {("m",): 0}
    values = [
        recorded.values(metric)[("m",)] for metric in (CLIP_SILENCE, CLIP_CLIPPING, CLIP_FLATNESS, CLIP_HARMONICITY)
    ]
    assert values == [[0.25], [0.01], [0.5], [0.75]]


def test_a_silent_clip_is_counted_as_such_and_has_no_tone() -> None:
    recorded = Recorded()
    SoundFigures(recorded).sound_made("m", 2.0, SoundHealth(1.0, 0.0, None, None, collapsed=True))
    assert recorded.total(CLIPS_COLLAPSED) == {("m",): 1}
    assert recorded.values(CLIP_FLATNESS) == recorded.values(CLIP_HARMONICITY) == {}
