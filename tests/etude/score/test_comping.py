from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.score import comping
from etude.score.dice import Dice
from etude.score.form import Form
from etude.score.harmony import Harmony
from etude.score.instruments import INSTRUMENTS
from etude.score.key import Key
from etude.score.note import Note
from etude.score.progressions import PROGRESSIONS
from etude.score.voicing import movement
from tests.etude.score.properties import tried

PIANO = INSTRUMENTS["grand piano"]
WINDOW = (52, 69)
ALL_STYLES = [(style, beats) for style, by_beats in comping.STYLES.items() for beats in by_beats]

progressions = st.sampled_from([p for modes in PROGRESSIONS.values() for p in modes.get("major", ())])


def part(style: str, beats: int, progression: str, seed: int, *, with_bass: bool) -> tuple[list[Note], Harmony]:
    form = Form.of(4, beats, has_final_chord=True)
    harmony = Harmony.lay_out([*(progression.split() * 4)[:4], "I"], Key(0, "major"), beats)
    dice = Dice(seed, "chords")
    return comping.write(style, harmony, form, WINDOW, PIANO, dice, with_bass=with_bass), harmony


@pytest.mark.parametrize(("style", "beats"), ALL_STYLES)
@tried
@given(progression=progressions, seed=st.integers(0, 10**6), with_bass=st.booleans())
def test_every_note_belongs_to_the_chord_it_sounds_in(
    style: str, beats: int, progression: str, seed: int, with_bass: bool
) -> None:
    notes, harmony = part(style, beats, progression, seed, with_bass=with_bass)
    for note in notes:
        span = harmony.at(note.start_beat)
        fifth = (span.chord.root + 7) % 12
        assert note.pitch % 12 in (*span.chord.pitch_classes, fifth)
        assert note.end_beat <= span.end_beat
        assert PIANO.low <= note.pitch <= PIANO.high


@tried
@given(progression=progressions, seed=st.integers(0, 10**6))
def test_chords_lead_their_voices(progression: str, seed: int) -> None:
    notes, _ = part("whole", 4, progression, seed, with_bass=True)
    chords: defaultdict[float, list[int]] = defaultdict(list)
    for note in notes:
        chords[note.start_beat].append(note.pitch)
    voicings = [tuple(sorted(chords[beat])) for beat in sorted(chords)]
    assert all(3 <= len(voicing) <= 4 for voicing in voicings)
    assert all(movement(a, b) / len(b) <= 4 for a, b in pairwise(voicings))


def test_the_roots_are_left_to_the_bass_where_there_is_one() -> None:
    alone, _ = part("waltz", 3, "I V7 V7 I", 3, with_bass=False)
    together, _ = part("waltz", 3, "I V7 V7 I", 3, with_bass=True)
    assert {note.start_beat for note in alone} - {note.start_beat for note in together} == {0, 3, 6, 9}
    roots = [note for note in alone if note.start_beat in (0, 6)]
    assert all(note.pitch < WINDOW[0] + 3 for note in roots if note.start_beat == 0)


def test_power_chords_are_roots_and_fifths() -> None:
    guitar = INSTRUMENTS["distorted guitar"]
    form = Form.of(2, 4, has_final_chord=False)
    harmony = Harmony.lay_out(["i", "bVI"], Key(4, "minor"), 4)
    notes = comping.write(comping.POWER_CHORDS, harmony, form, WINDOW, guitar, Dice(0, "chords"), with_bass=True)
    for low, high in zip(notes[::2], notes[1::2], strict=True):
        assert low.pitch % 12 == harmony.at(low.start_beat).chord.root
        assert high.pitch - low.pitch == 7


def test_a_long_chord_is_struck_again_where_the_harmony_changes() -> None:
    notes, _ = part("whole", 4, "Imaj7|vi7 ii7|V7 iii7|vi7 ii7|V7", 0, with_bass=False)
    assert sorted({note.start_beat for note in notes}) == [0, 2, 4, 6, 8, 10, 12, 14, 16]
