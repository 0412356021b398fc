from __future__ import annotations

import math

import numpy as np
import pytest

from etude.sound.loudness import limit, loudness_lufs, to_loudness
from etude.sound.mastering import PEAK, Sound

RATE = 32000


def tone(frequency_hz: float, seconds: float = 3.0, amplitude: float = 0.1) -> Sound:
    time_s = np.arange(round(seconds * RATE)) / RATE
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def test_a_full_scale_tone_of_997_hz_has_the_loudness_that_the_standard_says() -> None:
    assert loudness_lufs(tone(997, amplitude=1.0), RATE) == pytest.approx(-3.01, abs=0.02)


@pytest.mark.parametrize(("frequency_hz", "heard_db"), [(38, -6.0), (4000, 3.3)])
def test_bass_is_heard_less_and_treble_more(frequency_hz: float, heard_db: float) -> None:
    found = loudness_lufs(tone(frequency_hz), RATE) - loudness_lufs(tone(997), RATE)
    assert found == pytest.approx(heard_db, abs=1.0)


def test_pauses_do_not_count_and_silence_has_no_loudness() -> None:
    sound = tone(997)
    with_pause = np.concatenate([sound, np.zeros(5 * RATE, dtype=np.float32)])
    assert loudness_lufs(with_pause, RATE) == pytest.approx(loudness_lufs(sound, RATE), abs=0.3)
    assert loudness_lufs(np.zeros(RATE, dtype=np.float32), RATE) == -math.inf


def test_a_sound_comes_to_its_loudness_within_its_peak() -> None:
    swinging = tone(440) * (1 + 0.9 * np.sin(np.arange(3 * RATE) / RATE * 40)).astype(np.float32)
    for sound in (swinging, 0.01 * swinging):
        loud = to_loudness(sound.astype(np.float32), -10, RATE)
        assert loudness_lufs(loud, RATE) == pytest.approx(-10, abs=0.3)
        assert np.abs(loud).max() <= PEAK + 1e-6


def test_a_few_clicks_stay_quieter_and_silence_stays_silence() -> None:
    clicks = np.zeros(3 * RATE, dtype=np.float32)
    clicks[::RATE] = 0.5
    assert loudness_lufs(to_loudness(clicks, -16, RATE), RATE) < -20
    silence = np.zeros(RATE, dtype=np.float32)
    assert np.array_equal(to_loudness(silence, -16, RATE), silence)


def test_the_limiter_leaves_alone_what_is_far_from_a_peak() -> None:
    sound = tone(440, amplitude=0.3)
    sound[RATE] = 3.0
    limited = limit(sound, RATE)
    assert np.abs(limited).max() <= PEAK + 1e-6
    assert np.array_equal(limited[: RATE - 400], sound[: RATE - 400])
    assert np.array_equal(limited[RATE + 400 :], sound[RATE + 400 :])
