"""The health of a clip is reported once, for the whole clip, and delays no sound."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

import numpy as np
import pytest

from deployments.messages import EngineIdentity, GenerationStart, Outcome, PcmChunk
from serve_app.job import SoundHealth
from serve_app.sound.health import HealthMeter
from serve_app.sound.health_reports import (
    CLIP_CLIPPING,
    CLIP_FLATNESS,
    CLIP_HARMONICITY,
    CLIP_SILENCE,
    CLIPS,
    CLIPS_COLLAPSED,
    SoundMetrics,
    made_new_music,
    measure_health,
    report_health,
)
from tests.deployments.telemetry.recorded import Recorded
from tests.serve_app.jobs.examples import request, start
from tests.serve_app.tenants.sounds_made import SoundsMade

RATE = 32_000
CODES = np.zeros((4, 1), np.int16)
PCM = (0.1 * np.random.default_rng(0).standard_normal((1, 50_000))).astype(np.float32)


class Source:
    """Chunks of PCM; with an error for the last where there is one."""

    def __init__(self, error: Exception | None = None) -> None:
        self.closed = False
        self._error = error

    async def chunks(self) -> AsyncGenerator[PcmChunk, None]:
        try:
            for piece in np.split(PCM, [5_120, 40_000], axis=1):
                yield PcmChunk(piece, RATE, CODES)
            if self._error is not None:
                raise self._error
        finally:
            self.closed = True


def test_chunks_pass_unchanged_and_all_of_them_are_measured() -> None:
    async def scenario() -> None:
        told: list[SoundHealth] = []
        source = Source()
        pieces = [chunk.pcm async for chunk in measure_health(source.chunks(), told.append)]
        assert np.array_equal(np.concatenate(pieces, axis=1), PCM)
        meter = HealthMeter(RATE)
        meter.add(PCM)
        assert told == [meter.health()]
        assert source.closed

    asyncio.run(scenario())


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_a_clip_that_is_not_taken_to_its_end_is_not_reported(taken: int) -> None:
    async def scenario() -> None:
        told: list[SoundHealth] = []
        source = Source()
        async with aclosing(measure_health(source.chunks(), told.append)) as chunks:
            for _ in range(taken):
                await anext(chunks)
        assert not told
        assert source.closed or taken == 0

    asyncio.run(scenario())


def test_a_clip_that_fails_is_not_reported() -> None:
    async def scenario() -> None:
        told: list[SoundHealth] = []
        source = Source(RuntimeError("the codec is gone"))
        with pytest.raises(RuntimeError, match="codec"):
            async for _ in measure_health(source.chunks(), told.append):
                pass
        assert not told
        assert source.closed

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("outcome", "expected"), [("miss", True), ("extended", True), ("hit", False), ("cut", False), ("joined", False)]
)
def test_of_all_requests_for_a_clip_one_had_it_made(outcome: Outcome, expected: bool) -> None:
    assert made_new_music(GenerationStart("a" * 64, 1, outcome, EngineIdentity("", "", 0))) == expected


@pytest.mark.parametrize("collapsed", [False, True])
def test_only_a_collapsed_clip_is_in_the_log_with_its_id(collapsed: bool, caplog: pytest.LogCaptureFixture) -> None:
    sounds_made, asked, begun = SoundsMade(), request(), start()
    with caplog.at_level(logging.INFO, "ray.serve.sound"):
        report_health(sounds_made, asked, begun, SoundHealth(0.75, 0.0, 0.1, 0.9, collapsed=collapsed))
    assert len(sounds_made.told) == 1
    found = [(each["event"], each["generation"], each["request_id"]) for each in map(vars, caplog.records)]
    assert found == [("clip_collapsed", begun.key[:32], asked.request_id)] * collapsed


def test_a_clip_that_sounds_has_all_four_metrics() -> None:
    recorded = Recorded()
    metrics = SoundMetrics(recorded, ("m",))
    assert recorded.total(CLIPS) == recorded.total(CLIPS_COLLAPSED) == {("m",): 0}
    metrics.sound_made("m", 2.0, SoundHealth(0.25, 0.01, 0.5, 0.75, collapsed=False))
    assert recorded.total(CLIPS) == {("m",): 1}
    assert recorded.total(CLIPS_COLLAPSED) == {("m",): 0}
    values = [
        recorded.values(metric)[("m",)] for metric in (CLIP_SILENCE, CLIP_CLIPPING, CLIP_FLATNESS, CLIP_HARMONICITY)
    ]
    assert values == [[0.25], [0.01], [0.5], [0.75]]


def test_a_silent_clip_is_counted_as_such_and_has_no_tone() -> None:
    recorded = Recorded()
    SoundMetrics(recorded).sound_made("m", 2.0, SoundHealth(1.0, 0.0, None, None, collapsed=True))
    assert recorded.total(CLIPS_COLLAPSED) == {("m",): 1}
    assert recorded.values(CLIP_FLATNESS) == recorded.values(CLIP_HARMONICITY) == {}
