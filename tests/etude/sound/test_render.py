from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from etude.score.compose import compose, perform, write
from etude.score.exact import exactly
from etude.score.note import PlayedNote
from etude.score.piece import Piece, Track
from etude.score.plan import FRAME_S, Part
from etude.score.planner import draw_plan
from etude.sound.fluidsynth import Synthesizer
from etude.sound.mastering import PEAK, Sound
from etude.sound.render import SAMPLE_RATE, render


def rms_db(sound: Sound) -> float:
    return float(20 * np.log10(np.sqrt(np.square(sound.astype(np.float64)).mean()) + 1e-9))


@pytest.mark.parametrize("seed", range(12))
def test_a_piece_is_as_long_as_its_plan_says_and_neither_clips_nor_is_silent(
    seed: int, synthesizer: Synthesizer
) -> None:
    piece = compose(seed, length_s=5.0 + seed / 7)
    sound = render(piece, synthesizer)
    assert sound.dtype == np.float32
    assert sound.shape == (round(piece.plan.length_s * SAMPLE_RATE),)
    assert np.abs(sound).max() <= PEAK + 1e-6
    assert rms_db(sound) >= -45


def test_the_same_piece_sounds_the_same(synthesizer: Synthesizer) -> None:
    piece = compose(5, length_s=3.0)
    assert np.array_equal(render(piece, synthesizer), render(piece, synthesizer))


def test_before_the_first_beat_there_is_silence(synthesizer: Synthesizer) -> None:
    plan = replace(draw_plan(3, "bands", 4.0), lead_in_s=0.75, opening="at once")
    sound = render(perform(write(plan)), synthesizer)
    assert rms_db(sound[: int(0.6 * SAMPLE_RATE)]) < -60
    assert rms_db(sound[SAMPLE_RATE:]) > -35


def test_what_fades_out_gets_quieter_and_what_fades_in_louder(synthesizer: Synthesizer) -> None:
    plan = replace(draw_plan(3, "bands", 10.0), opening="fade in", ending="fade out", lead_in_s=0.0)
    sound = render(perform(write(plan)), synthesizer)
    tenths = [rms_db(tenth) for tenth in np.array_split(sound, 20)]
    assert tenths[0] < tenths[8] - 3
    assert tenths[-1] < tenths[8] - 10


@pytest.mark.parametrize("instrument", ["flute", "grand piano", "trumpet", "square lead", "church organ", "music box"])
def test_an_instrument_sounds_at_the_pitch_that_is_written(instrument: str, synthesizer: Synthesizer) -> None:
    plan = replace(draw_plan(0, "notes", 2.0), parts=(Part("exercise", instrument, "single notes"),))
    note = PlayedNote(0.0, 1.8, 69, 100)
    sound = render(Piece(plan, (Track(instrument, (note,)),)), synthesizer)[4000:52000]
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    frequencies_hz = np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)
    harmonic = frequencies_hz[spectrum.argmax()] / 440
    # Drawbars and pipes sound octaves besides.
    assert min(abs(harmonic / h - 1) for h in (0.5, 1, 2, 3, 4)) < 0.02


def test_the_tempo_can_be_heard(synthesizer: Synthesizer) -> None:
    plans = (draw_plan(seed, "bands", 8.0) for seed in range(3000))
    steady = (p for p in plans if p.genre == "techno" and p.has_drums and (p.opening, p.ending) == ("at once", "cut"))
    for _ in range(3):
        plan = next(steady)
        sound = render(perform(write(plan)), synthesizer)
        energy = np.square(sound[: len(sound) // 320 * 320].reshape(-1, 320)).sum(axis=1)
        onsets = np.maximum(0, np.diff(np.log10(energy + 1e-4)))
        onsets -= onsets.mean()
        lags = np.arange(30, 101)
        strength = [float((onsets[:-lag] * onsets[lag:]).mean()) for lag in lags]
        heard_bpm = 60 * 100 / lags[int(np.argmax(strength))]
        assert any(heard_bpm * ratio == pytest.approx(plan.tempo_bpm, rel=0.04) for ratio in (0.5, 1, 2))


@pytest.mark.parametrize("instrument", ["flute", "saxophone", "trumpet", "drum kit", "square lead"])
def test_played_exactly_a_note_is_the_same_samples_wherever_it_stands(
    instrument: str, synthesizer: Synthesizer
) -> None:
    """But for the very first, which a fresh synthesizer begins a little differently."""
    plan = replace(exactly(draw_plan(0, "notes", 9.0)), parts=(Part("exercise", instrument, "single notes"),))
    frames = (0, 37, 101, 222, 333)
    notes = tuple(PlayedNote(frame * FRAME_S, 0.4, 60, 80) for frame in frames)
    sound = render(Piece(plan, (Track(instrument, notes),)), synthesizer)
    _, first, *others = (sound[frame * 640 :][: 30 * 640] for frame in frames)
    assert np.abs(first).max() > 0.01
    for other in others:
        np.testing.assert_allclose(other, first, atol=np.abs(first).max() * 1e-3)


def test_played_exactly_loudness_is_the_score_s_alone(synthesizer: Synthesizer) -> None:
    """One note more leaves the others as loud as they were."""
    plan = replace(exactly(draw_plan(0, "notes", 4.0)), parts=(Part("exercise", "flute", "single notes"),))
    notes = (PlayedNote(0.0, 0.4, 72, 80), PlayedNote(2.0, 0.4, 74, 112))
    both = render(Piece(plan, (Track("flute", notes),)), synthesizer)
    one = render(Piece(plan, (Track("flute", notes[:1]),)), synthesizer)
    np.testing.assert_allclose(both[: 60 * 640], one[: 60 * 640], atol=1e-6)
