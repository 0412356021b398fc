"""The health of clips, compared with slow reference sums, and of sounds whose health is known."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.job import SoundHealth
from serve_app.sound.health import HealthMeter
from tests.serve_app.sound.test_containers import chord

RATE = 32_000
FRAME = 1920  # 60 ms


def health(pcm: np.ndarray, cuts: list[int] | None = None, sample_rate: int = RATE) -> SoundHealth:
    meter = HealthMeter(sample_rate)
    for piece in np.split(pcm, cuts or [], axis=1):
        meter.add(piece)
    return meter.health()


def sine(hertz: float, seconds: float = 4.0, peak: float = 0.5) -> np.ndarray:
    at_s = np.arange(round(seconds * RATE)) / RATE
    return (peak * np.sin(2 * np.pi * hertz * at_s)).astype(np.float32)[None]


def noise(seconds: float = 4.0, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal((1, round(seconds * RATE)))).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros((1, round(seconds * RATE)), np.float32)


def joined(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts, axis=1)


def slow(pcm: np.ndarray) -> SoundHealth:
    """Sample by sample and lag by lag, as the definitions read."""
    num_samples = pcm.shape[1]
    starts = range(0, num_samples, FRAME)
    silent, alive, flat, harmonic = [], [], [], []
    for start in starts:
        frame = pcm[:, start : start + FRAME].astype(np.float64)
        silent.append(bool(np.sqrt(np.mean(frame**2)) < 1e-3))
        if frame.shape[1] == FRAME:
            before = pcm[:, start - FRAME : start]
            same = start > 0 and bool(np.abs(frame - before).max() <= 2**-15)
            alive.append(not (silent[-1] or same))
            if not silent[-1]:
                flat.append(slow_flatness(frame))
                harmonic.append(slow_harmonicity(frame))
    clipped = 0
    for channel in pcm:
        run = 0
        for sample in [*channel, 0.0]:
            if abs(sample) >= 1 - 2**-15:
                run += 1
            else:
                clipped += run if run >= 3 else 0
                run = 0
    judged = alive[: len(alive) - 2] if len(alive) > 2 else []
    num_alive = next((number for number in range(len(judged), 0, -1) if judged[number - 1]), 0)
    dead = num_samples - num_alive * FRAME
    return SoundHealth(
        silent_share=sum(silent) / len(silent),
        clipped_share=clipped / pcm.size,
        flatness=float(np.mean(flat)) if flat else None,
        harmonicity=float(np.mean(harmonic)) if harmonic else None,
        collapsed=all(silent) or (dead >= RATE and dead >= num_samples / 4),
    )


def slow_flatness(frame: np.ndarray) -> float:
    """frame: [C, samples]. The mean of its channels' spectral flatness, each by its power."""
    power = np.abs(np.fft.fft(frame * hann(), axis=1)) ** 2
    inner = np.maximum(power[:, 1 : FRAME // 2], 1e-30)
    geometric, arithmetic = np.exp(np.log(inner).mean(axis=1)), inner.mean(axis=1)
    return float((geometric / arithmetic * arithmetic).sum() / arithmetic.sum())


def slow_harmonicity(frame: np.ndarray) -> float:
    window = hann()

    def correlation(signal: np.ndarray, lag: int) -> float:
        return float(np.dot(signal[: FRAME - lag], signal[lag:]))

    def of_all(lag: int) -> float:
        return sum(correlation(channel * window, lag) for channel in frame) / correlation(window, lag)

    highest = max(of_all(lag) for lag in range(32, 534)) / of_all(0)
    return min(1.0, max(0.0, highest))


def hann() -> np.ndarray:
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME))


SOUNDS = {
    "a chord": chord(1, 12_345),
    "two channels": chord(2, 12_345),
    "a tone": sine(440, 0.5),
    "noise": noise(0.5),
    "noise at one side": np.concatenate([noise(0.5), silence(0.5)]),
    "clipped": np.clip(20 * noise(0.5), -1, 1),
    "music, then silence": joined(noise(0.5), silence(2.1)),
    "music, then one frame again and again": joined(noise(0.5), np.tile(noise(0.06, 1), 30), noise(0.06, 2)),
    "silence, then music": joined(silence(2), noise(0.51)),
    "one sample": np.full((1, 1), 0.5, np.float32),
    "a frame": noise(0.06),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_one_pass_gives_what_the_definitions_give(name: str) -> None:
    pcm = SOUNDS[name]
    expected = asdict(slow(pcm))
    for field, told in asdict(health(pcm)).items():
        assert told == (None if expected[field] is None else pytest.approx(expected[field], abs=1e-4)), field


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(SOUNDS)),
    cuts=st.lists(st.integers(0, 90_000), max_size=6).map(sorted),
)
def test_it_is_the_same_to_the_last_bit_however_the_sound_was_cut(name: str, cuts: list[int]) -> None:
    assert health(SOUNDS[name], cuts) == health(SOUNDS[name])


def test_a_tone_is_harmonic_and_noise_is_flat() -> None:
    tone, hiss = health(sine(440)), health(noise(20))
    assert tone.flatness is not None
    assert tone.harmonicity is not None
    assert hiss.flatness is not None
    assert hiss.harmonicity is not None
    assert tone.flatness < 1e-9
    assert tone.harmonicity > 0.999
    assert hiss.flatness == pytest.approx(np.exp(-np.euler_gamma), abs=0.01)
    assert hiss.harmonicity < 0.2
    assert (tone.silent_share, tone.clipped_share, tone.collapsed) == (0, 0, False)


@pytest.mark.parametrize("num_channels", [1, 2, 3])
def test_channels_that_cancel_each_other_are_measured(num_channels: int) -> None:
    apart = np.concatenate([(-1) ** channel * sine(440) for channel in range(num_channels)])
    assert asdict(health(apart)) == pytest.approx(asdict(health(sine(440))))


@pytest.mark.parametrize(
    ("level", "silent_share"), [(0.0, 1), (0.99e-3, 1), (1.01e-3, 0), (0.5, 0)], ids=["none", "below", "above", "loud"]
)
def test_silence_is_what_lies_below_minus_60_dbfs(level: float, silent_share: float) -> None:
    told = health(sine(440, peak=level * np.sqrt(2)))
    assert (told.silent_share, told.collapsed) == (silent_share, bool(silent_share))
    assert (told.flatness is None) == (told.harmonicity is None) == bool(silent_share)


def test_what_is_cut_off_at_full_scale_is_clipped_and_a_peak_that_reaches_it_is_not() -> None:
    assert health(sine(440, peak=1.0)).clipped_share == 0
    assert health(sine(440, peak=1e6)).clipped_share > 0.99
    assert health(sine(440, peak=2.0)).clipped_share == pytest.approx(2 / 3, abs=0.01)
    pair = silence(1)
    pair[0, [100, 101, 31_999]] = 1
    assert health(pair).clipped_share == 0
    pair[0, 102] = -1
    assert health(pair).clipped_share == pytest.approx(3 / RATE)


@pytest.mark.parametrize(
    ("pcm", "collapsed"),
    [
        (silence(0.5), True),
        (joined(noise(3.0), silence(0.9)), False),
        (joined(noise(2.9), silence(1.1)), True),
        (joined(noise(8.0), silence(2.0)), False),
        (joined(noise(7.0), silence(3.0)), True),
        (joined(noise(6.9), silence(3.0), noise(0.1)), True),
        (joined(noise(6.0), silence(3.0), noise(1.0)), False),
        (joined(silence(3.0), noise(3.0)), False),
        (joined(noise(2.0), np.tile(noise(0.02, 1), 100)), True),
        (joined(noise(2.0), np.tile(noise(0.02, 1), 20), noise(2.0)), False),
        (np.full((1, 2 * RATE), 0.3, np.float32), True),
        (sine(440), False),
    ],
    ids=[
        "silent",
        "a rest at the end",
        "cut short",
        "an ending",
        "ends early",
        "ends early, and a click",
        "a pause",
        "a late start",
        "hangs",
        "hangs for a moment",
        "a constant",
        "a tone",
    ],
)
def test_a_clip_that_dies_and_does_not_come_back_has_collapsed(pcm: np.ndarray, collapsed: bool) -> None:
    assert health(pcm).collapsed == collapsed


@pytest.mark.parametrize("sample_rate", [8000, 24_000, 44_100, 48_000])
def test_any_sample_rate_will_do(sample_rate: int) -> None:
    at_s = np.arange(sample_rate) / sample_rate
    told = health((0.5 * np.sin(2 * np.pi * 220 * at_s)).astype(np.float32)[None], [sample_rate // 3], sample_rate)
    assert told.harmonicity is not None
    assert told.harmonicity > 0.99
    assert not told.collapsed


def test_invalid_pcm_is_refused() -> None:
    meter = HealthMeter(RATE)
    with pytest.raises(ValueError, match="at least one sample"):
        meter.health()
    with pytest.raises(ValueError, match="finite"):
        meter.add(np.full((1, 9), np.nan, np.float32))
