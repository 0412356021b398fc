from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from etude.sound.room import Room

RATE = 32000
ROOM = Room(decay_s=0.6, delay_s=0.01, wet_db=-10.0, seed=3)


def level_db(response: np.ndarray) -> float:
    return float(10 * np.log10(np.square(response).mean()))


def test_the_direct_sound_comes_first_and_reverberation_after_its_delay() -> None:
    response = ROOM.impulse_response(RATE)
    assert response[0] == 1
    assert not response[1 : round(0.01 * RATE)].any()
    assert float(np.square(response[1:]).sum()) == pytest.approx(0.1)


def test_reverberation_loses_60_db_in_its_time() -> None:
    tail = ROOM.impulse_response(RATE)[round(0.06 * RATE) :]
    early, late = tail[: RATE // 20], tail[round(0.4 * RATE) : round(0.4 * RATE) + RATE // 20]
    assert level_db(late) - level_db(early) == pytest.approx(-60 * 0.4 / 0.6, abs=5)


def test_treble_dies_first() -> None:
    tail = ROOM.impulse_response(RATE)[round(0.35 * RATE) :]
    spectrum = np.abs(np.fft.rfft(tail))
    frequencies_hz = np.fft.rfftfreq(len(tail), 1 / RATE)
    assert (
        spectrum[frequencies_hz > 6000].mean() < 0.3 * spectrum[(frequencies_hz > 500) & (frequencies_hz < 2500)].mean()
    )


def test_the_same_room_sounds_the_same_and_another_does_not() -> None:
    sound = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    assert np.array_equal(ROOM.sound_in(sound, RATE), ROOM.sound_in(sound, RATE))
    assert not np.allclose(ROOM.sound_in(sound, RATE), replace(ROOM, seed=4).sound_in(sound, RATE))
    assert ROOM.sound_in(sound, RATE).shape == sound.shape
