from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from etude.score import melody
from etude.score.dice import Dice
from etude.score.form import Form
from etude.score.harmony import Harmony
from etude.score.key import Key, Mode
from etude.score.moods import Density
from etude.score.note import Note
from etude.score.progressions import PROGRESSIONS
from etude.score.rhythms import RHYTHMS
from tests.etude.score.properties import tried

WINDOW = (60, 78)
ALL_STYLES = [(style, beats) for style, by_beats in RHYTHMS.items() for beats in by_beats]
SUNG = [(style, beats) for style, beats in ALL_STYLES if style != melody.OSTINATO]

densities = st.sampled_from(["sparse", "medium", "dense"])
keys = st.builds(Key, st.integers(0, 11), st.sampled_from(["major", "minor"]))
seeds = st.integers(0, 10**6)


def tune(
    style: str, beats: int, key: Key, density: Density, seed: int, *, pentatonic: bool = False
) -> tuple[list[Note], Harmony, Form]:
    dice = Dice(seed, "melody")
    form = Form.of(8, beats, has_final_chord=True)
    progression = dice.pick([p for modes in PROGRESSIONS.values() for p in modes.get(key.mode, ())])
    tonic = {"major": "I", "minor": "i", "blues": "I7"}[key.mode]
    harmony = Harmony.lay_out([*(progression.split() * 8)[:8], tonic], key, beats)
    return melody.write(style, harmony, form, key, WINDOW, density, dice, pentatonic=pentatonic), harmony, form


@pytest.mark.parametrize(("style", "beats"), ALL_STYLES)
@tried
@given(key=keys, density=densities, seed=seeds, pentatonic=st.booleans())
def test_a_melody_is_one_line_within_its_window(
    style: str, beats: int, key: Key, density: Density, seed: int, pentatonic: bool
) -> None:
    notes, _, form = tune(style, beats, key, density, seed, pentatonic=pentatonic)
    # A semitone below the lowest chord note may lead to it.
    assert all(WINDOW[0] - 1 <= note.pitch <= WINDOW[1] for note in notes)
    assert all(a.end_beat <= b.start_beat for a, b in pairwise(notes))
    assert notes[-1].end_beat == form.final_beat + beats
    assert notes[-1].pitch % 12 == key.tonic


@pytest.mark.parametrize(("style", "beats"), ALL_STYLES)
@tried
@given(key=keys, density=densities, seed=seeds)
def test_every_note_is_of_the_key_or_the_chord_or_leads_to_one(
    style: str, beats: int, key: Key, density: Density, seed: int
) -> None:
    notes, harmony, _ = tune(style, beats, key, density, seed)
    for note, following in zip(notes, [*notes[1:], notes[-1]], strict=True):
        inside = note.pitch % 12 in (*key.pitch_classes, *harmony.at(note.start_beat).chord.pitch_classes)
        leads = following.pitch - note.pitch == 1 and note.num_beats <= 0.5 and note.start_beat % 1 != 0
        assert inside or (style == "swing" and leads)


@pytest.mark.parametrize("mode", ["major", "minor"])
def test_at_most_a_tenth_of_the_notes_are_outside_the_scale(mode: Mode) -> None:
    notes = [
        (note.pitch, Key(seed % 12, mode))
        for style, beats in ALL_STYLES
        for seed in range(20)
        for note in tune(style, beats, Key(seed % 12, mode), "medium", seed)[0]
    ]
    outside = sum(pitch % 12 not in key.pitch_classes for pitch, key in notes)
    assert outside / len(notes) <= 0.1


@pytest.mark.parametrize(("style", "beats"), SUNG)
@tried
@given(key=keys, density=densities, seed=seeds)
def test_phrases_come_to_rest_on_a_note_of_their_last_chord(
    style: str, beats: int, key: Key, density: Density, seed: int
) -> None:
    notes, harmony, form = tune(style, beats, key, density, seed)
    end = 0
    for num_bars in form.phrases:
        end += num_bars * beats
        closing = [note for note in notes if end - beats <= note.start_beat < end]
        last = closing[-1]
        assert last.pitch % 12 in harmony.at(last.start_beat).chord.pitch_classes
        assert last.num_beats == max(note.num_beats for note in closing)


@pytest.mark.parametrize(("style", "beats"), SUNG)
@tried
@given(key=keys, density=densities, seed=seeds)
def test_a_motif_comes_back(style: str, beats: int, key: Key, density: Density, seed: int) -> None:
    notes, _, form = tune(style, beats, key, density, seed)
    rhythms = [
        tuple(
            (n.start_beat - bar * beats, n.num_beats) for n in notes if bar * beats <= n.start_beat < (bar + 1) * beats
        )
        for bar in range(form.num_bars)
    ]
    assert len(set(rhythms)) <= len(rhythms) - 2


@tried
@given(key=keys, density=densities, seed=seeds)
def test_an_ostinato_has_the_same_rhythm_in_every_bar(key: Key, density: Density, seed: int) -> None:
    notes, _, form = tune(melody.OSTINATO, 4, key, density, seed)
    bars = [[n.start_beat % 4 for n in notes if n.start_beat // 4 == bar] for bar in range(form.num_bars)]
    assert all(bar == bars[0] for bar in bars)


@tried
@example(key=Key(7, "major"), density="sparse", seed=0, style="riff")  # once leapt as often as not
@given(key=keys, density=densities, seed=seeds, style=st.sampled_from(["plain", "riff", "sixteenths"]))
def test_lines_move_mostly_by_small_steps(key: Key, density: Density, seed: int, style: str) -> None:
    notes, _, _ = tune(style, 4, key, density, seed)
    leaps = [abs(a.pitch - b.pitch) for a, b in pairwise(notes)]
    assert sum(leap <= 5 for leap in leaps) > len(leaps) / 2
    assert max(leaps) <= 16
