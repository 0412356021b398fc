from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from etude.score import bass
from etude.score.dice import Dice
from etude.score.form import Form
from etude.score.harmony import Harmony
from etude.score.instruments import INSTRUMENTS
from etude.score.key import Key
from etude.score.note import Note
from etude.score.progressions import PROGRESSIONS
from tests.etude.score.properties import tried

DOUBLE_BASS = INSTRUMENTS["double bass"]
ALL_LINES = [(style, beats) for style, by_beats in bass.LINES.items() for beats in by_beats] + [(bass.WALKING, 4)]

progressions = st.sampled_from([p for modes in PROGRESSIONS.values() for p in modes.get("minor", ())])


def line(style: str, beats: int, progression: str, tonic: int, seed: int) -> tuple[list[Note], Harmony, Form]:
    key, form = Key(tonic, "minor"), Form.of(8, beats, has_final_chord=True)
    harmony = Harmony.lay_out([*(progression.split() * 8)[:8], "i"], key, beats)
    return bass.write(style, harmony, form, key, DOUBLE_BASS, Dice(seed, "bass")), harmony, form


@pytest.mark.parametrize(("style", "beats"), ALL_LINES)
@tried
@given(progression=progressions, tonic=st.integers(0, 11), seed=st.integers(0, 10**6))
def test_lines_stay_in_range_one_note_at_a_time(
    style: str, beats: int, progression: str, tonic: int, seed: int
) -> None:
    notes, _, form = line(style, beats, progression, tonic, seed)
    assert all(DOUBLE_BASS.low <= note.pitch <= DOUBLE_BASS.high for note in notes)
    assert all(a.end_beat <= b.start_beat for a, b in pairwise(notes))
    assert notes[-1].end_beat == form.final_beat + beats
    assert notes[-1].pitch % 12 == tonic


@pytest.mark.parametrize(("style", "beats"), [(s, b) for s, b in ALL_LINES if s not in ("boogie", "waltz")])
@tried
@given(progression=progressions, tonic=st.integers(0, 11), seed=st.integers(0, 10**6))
def test_what_is_on_the_first_beat_of_a_chord_is_its_root(
    style: str, beats: int, progression: str, tonic: int, seed: int
) -> None:
    notes, harmony, _ = line(style, beats, progression, tonic, seed)
    starts = {span.start_beat: span.chord for span in harmony if span.start_beat % beats == 0}
    on_starts = [note for note in notes if note.start_beat in starts]
    assert all(note.pitch % 12 == starts[note.start_beat].root for note in on_starts)


@tried
@example(progression="i iv V7 i", tonic=3, seed=136)  # once leapt by thirteen where the range ends
@given(progression=progressions, tonic=st.integers(0, 11), seed=st.integers(0, 10**6))
def test_a_walking_bass_walks_into_every_chord(progression: str, tonic: int, seed: int) -> None:
    notes, harmony, form = line(bass.WALKING, 4, progression, tonic, seed)
    walked = [note for note in notes if note.start_beat < form.final_beat]
    assert [note.start_beat for note in walked] == list(range(form.num_bars * 4))
    for before, after in pairwise(walked):
        assert abs(before.pitch - after.pitch) <= 12
        if (
            harmony.at(after.start_beat).start_beat == after.start_beat
            and harmony.at(before.start_beat).end_beat - (harmony.at(before.start_beat).start_beat) > 1
        ):
            # Two semitones at most, wherever the octave allows.
            assert min((before.pitch - after.pitch) % 12, (after.pitch - before.pitch) % 12) <= 2


def test_four_on_the_floor_has_the_octave_on_every_offbeat() -> None:
    notes, _harmony, form = line("house", 4, "i7 i7 bVImaj7 bVII", 0, 1)
    for note in notes:
        bar = int(note.start_beat) // 4
        if bar % 4 < 3 and bar < form.num_bars and note.start_beat % 1 == 0.5:
            down = next(n for n in notes if n.start_beat == note.start_beat - 0.5)
            assert note.pitch - down.pitch == 12
