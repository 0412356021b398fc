"""What is said of a clip is said once, of all of it, and delays none of it."""

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
from serve_app.sound.health_reports import is_new, listened, tell_sound_made
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


def test_the_chunks_are_the_same_and_all_of_them_are_listened_to() -> None:
    async def scenario() -> None:
        told: list[SoundHealth] = []
        source = Source()
        pieces = [chunk.pcm async for chunk in listened(source.chunks(), told.append)]
        assert np.array_equal(np.concatenate(pieces, axis=1), PCM)
        meter = HealthMeter(RATE)
        meter.add(PCM)
        assert told == [meter.health()]
        assert source.closed

    asyncio.run(scenario())


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_of_what_is_not_taken_to_its_end_nothing_is_told(taken: int) -> None:
    async def scenario() -> None:
        told: list[SoundHealth] = []
        source = Source()
        async with aclosing(listened(source.chunks(), told.append)) as chunks:
            for _ in range(taken):
                await anext(chunks)
        assert not told
        assert source.closed or taken == 0

    asyncio.run(scenario())


def test_of_what_fails_nothing_is_told() -> None:
    async def scenario() -> None:
        told: list[SoundHealth] = []
        source = Source(RuntimeError("the codec is gone"))
        with pytest.raises(RuntimeError, match="codec"):
            async for _ in listened(source.chunks(), told.append):
                pass
        assert not told
        assert source.closed

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("outcome", "expected"), [("miss", True), ("extended", True), ("hit", False), ("cut", False), ("joined", False)]
)
def test_of_all_who_hear_it_one_had_it_made(outcome: Outcome, expected: bool) -> None:
    assert is_new(GenerationStart("a" * 64, 1, outcome, EngineIdentity("", "", 0))) == expected


@pytest.mark.parametrize("collapsed", [False, True])
def test_only_a_clip_that_collapsed_is_in_the_log_and_by_its_name(
    collapsed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    sounds_made, asked, begun = SoundsMade(), request(), start()
    with caplog.at_level(logging.INFO, "ray.serve.sound"):
        tell_sound_made(sounds_made, asked, begun, SoundHealth(0.75, 0.0, 0.1, 0.9, collapsed=collapsed))
    assert len(sounds_made.told) == 1
    found = [(each["event"], each["generation"], each["request_id"]) for each in map(vars, caplog.records)]
    assert found == [("clip_collapsed", begun.key[:32], asked.request_id)] * collapsed
