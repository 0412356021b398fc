"""Tempo, onsets, pitch and timbre of sounds of which everything is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import dct

from etude.evaluation.impression import listen
from etude.evaluation.pitch import chroma, share_in_key
from etude.evaluation.tempo import agrees, estimate_tempo, onset_envelope, onsets_per_second
from etude.evaluation.timbre import EMBEDDING_WIDTH, brightness, embed_seconds, log_mel, timbre
from tests.etude.evaluation.sounds import RATE, clicks, hiss, tones


@pytest.mark.parametrize("bpm", [60, 73, 90, 107, 120, 141, 180])
def test_a_beat_has_its_tempo_or_an_octave_of_it(bpm: int) -> None:
    sound = clicks(bpm)
    heard = estimate_tempo(*onset_envelope(sound, RATE))
    assert min(abs(heard / (bpm * octave) - 1) for octave in (0.5, 1, 2)) < 0.02
    assert onsets_per_second(*onset_envelope(sound, RATE)) == pytest.approx(bpm / 60, rel=0.1)


@pytest.mark.parametrize(
    ("heard", "asked", "right"),
    [(120, 120, True), (129, 120, True), (130, 120, False), (60, 120, True), (240, 120, True), (90, 120, False)],
)
def test_a_tempo_agrees_within_eight_percent_of_it_or_an_octave(heard: float, asked: float, right: bool) -> None:
    assert agrees(heard, asked) is right


def test_silence_has_no_onsets_no_pitch_and_no_level() -> None:
    impression = listen(np.zeros(RATE * 2, dtype=np.float32), RATE)
    assert impression.onsets_per_second == 0
    assert not impression.chroma.any()
    assert impression.level_db == -120
    assert np.isfinite(impression.timbre).all()


def test_a_chord_is_its_pitch_classes_in_any_octave() -> None:
    """C, E and G, the last as loud in two octaves."""
    heard = chroma(tones([261.63, 329.63, 392.0, 784.0]), RATE)
    assert heard[[0, 4]] == pytest.approx(0.25, abs=0.02)
    assert heard[7] == pytest.approx(0.5, abs=0.03)
    assert share_in_key(heard, (0, 2, 4, 5, 7, 9, 11)) > 0.97
    assert share_in_key(heard, (1, 3, 6, 8, 10)) < 0.03


def test_a_low_note_is_heard_a_little_out_of_tune() -> None:
    """A2, 20 cents sharp."""
    assert chroma(tones([110 * 2 ** (0.2 / 12)]), RATE)[9] > 0.9


def test_level_and_clipping_are_told() -> None:
    quiet = listen(tones([440], level=0.01), RATE)
    assert quiet.level_db == pytest.approx(20 * np.log10(0.01 / np.sqrt(2)), abs=0.1)
    assert quiet.clipped == 0
    assert listen(np.clip(tones([440], level=3), -1, 1), RATE).clipped > 0.5


def test_timbre_doesnt_know_the_level_but_the_sound() -> None:
    def of(sound: np.ndarray) -> np.ndarray:
        return timbre(log_mel(sound, RATE)[0])

    loud = of(hiss(level=0.2))
    assert np.abs(loud - of(hiss(level=0.05))).max() < 0.2
    assert np.abs(loud - of(tones([440]))).max() > 2


def test_noise_is_brighter_than_a_low_note() -> None:
    assert brightness(log_mel(hiss(), RATE)[0]) > 25 > 15 > brightness(log_mel(tones([200]), RATE)[0])


def test_embeddings_are_one_a_second_and_the_orthonormal_cosine_transform() -> None:
    mel, rate = log_mel(hiss(3.5), RATE)
    seconds = embed_seconds(mel, rate)
    assert seconds.shape == (3, EMBEDDING_WIDTH)
    expected = dct(mel, axis=0, norm="ortho")[:20, : round(rate)].mean(axis=1)
    np.testing.assert_allclose(seconds[0, :20], expected, atol=1e-9)
