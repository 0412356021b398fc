from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from etude.sound import mastering
from etude.sound.mastering import PEAK, Sound

RATE = 32000


def tone(frequency_hz: float, seconds: float = 1.0, amplitude: float = 0.5) -> Sound:
    time_s = np.arange(round(seconds * RATE)) / RATE
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def rms(sound: Sound) -> float:
    return float(np.sqrt(np.square(sound[4000:-4000].astype(np.float64)).mean()))


@pytest.mark.parametrize("frequency_hz", [200, 2000, 4000, 8000])
def test_the_low_pass_takes_off_what_a_filter_of_second_order_does(frequency_hz: float) -> None:
    b, a = signal.butter(2, 4000, analog=True)
    _, response = signal.freqs(b, a, [frequency_hz])
    sound = tone(frequency_hz)
    gain = rms(mastering.low_pass(sound, 4000, RATE)) / rms(sound)
    assert gain == pytest.approx(abs(response[0]), rel=0.01)


def test_the_low_pass_keeps_the_end_out_of_the_beginning() -> None:
    sound = np.zeros(RATE, dtype=np.float32)
    sound[-1] = 1.0
    assert np.abs(mastering.low_pass(sound, 3000, RATE)[: RATE // 2]).max() < 1e-4


def test_fades_begin_and_end_in_silence_and_leave_the_rest_alone() -> None:
    ones = np.ones(RATE, dtype=np.float32)
    out = mastering.fade_out(ones, 0.25, RATE)
    assert out[: RATE * 3 // 4].min() == 1.0
    assert abs(out[-1]) < 1e-6
    assert (np.diff(out) <= 0).all()
    assert np.array_equal(mastering.fade_in(ones, 0.25, RATE), out[::-1])
    assert len(mastering.fade_out(ones, 9.0, RATE)) == RATE


def test_loudness_is_of_what_sounds() -> None:
    half_silent = np.concatenate([tone(440), np.zeros(RATE, dtype=np.float32)])
    assert mastering.loudness_db(half_silent, RATE) == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.01)
    assert mastering.loudness_db(np.zeros(RATE, dtype=np.float32), RATE) == -np.inf


@settings(deadline=None, max_examples=40)
@given(target_db=st.floats(-40, 0), amplitude=st.floats(1e-4, 4), seed=st.integers(0, 100))
def test_levelled_sound_is_at_its_target_or_its_peak(target_db: float, amplitude: float, seed: int) -> None:
    noise = (amplitude * np.random.default_rng(seed).standard_normal(RATE)).astype(np.float32)
    levelled = mastering.level(noise, target_db, RATE)
    peak = np.abs(levelled).max()
    assert peak <= PEAK + 1e-6
    at_target = mastering.loudness_db(levelled, RATE) == pytest.approx(target_db, abs=0.01)
    assert at_target or peak == pytest.approx(PEAK)


def test_silence_stays_silence() -> None:
    silence = np.zeros(100, dtype=np.float32)
    assert np.array_equal(mastering.level(silence, -20, RATE), silence)


def test_sixteen_bits_hold_full_scale_and_refuse_more() -> None:
    assert mastering.to_int16(np.array([-1.0, 0.0, 1.0], dtype=np.float32)).tolist() == [-32767, 0, 32767]
    with pytest.raises(ValueError, match="clip"):
        mastering.to_int16(np.array([1.001], dtype=np.float32))
