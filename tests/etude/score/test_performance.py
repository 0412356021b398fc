from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from etude.score.clock import Clock
from etude.score.dice import Dice
from etude.score.form import Form
from etude.score.instruments import INSTRUMENTS
from etude.score.note import Note, PlayedNote
from etude.score.performance import merge, play
from etude.score.planner import draw_plan
from tests.etude.score.properties import tried

FORM = Form((4,), 4, has_final_chord=False)
PLAN = draw_plan(2, "bands", 10.0)
CLOCK = Clock(0.5)


def played(notes: list[Note], instrument: str, role: str = "chords") -> list[PlayedNote]:
    return play(role, INSTRUMENTS[instrument], notes, PLAN, FORM, CLOCK, Dice(1, "test"))  # type: ignore[arg-type]


def test_a_guitar_strums_upwards_and_a_piano_strikes_at_once() -> None:
    chord = [Note(0, 2, pitch) for pitch in (60, 52, 56)]
    strummed = played(chord, "nylon guitar")
    assert [note.pitch for note in strummed] == [52, 56, 60]
    assert strummed[0].start_s < strummed[1].start_s < strummed[2].start_s < strummed[0].start_s + 0.05
    assert len({note.start_s for note in played(chord, "grand piano")}) == 1


def test_louder_notes_are_struck_harder() -> None:
    soft, loud = played([Note(0, 1, 60, 0.4), Note(1, 1, 60, 1.0)], "grand piano")
    assert soft.velocity < loud.velocity


def test_a_phrase_swells_and_ebbs() -> None:
    levels = [note.velocity for note in played([Note(beat, 1, 60) for beat in range(16)], "grand piano", "melody")]
    assert sum(levels[6:10]) > sum(levels[:2] + levels[-2:])


def test_long_notes_lose_no_more_than_a_breath() -> None:
    short, long = played([Note(0, 0.5, 60), Note(4, 8, 60)], "organ")
    assert 0.8 * 0.25 <= short.duration_s <= 0.25
    assert 4 - 0.121 <= long.duration_s <= 4


def test_what_starts_after_the_end_is_not_played() -> None:
    notes = played([Note(beat, 1, 60) for beat in range(40)], "organ")
    assert len(notes) < 40
    assert all(note.start_s < PLAN.length_s for note in notes)


notes_at_random = st.lists(
    st.builds(PlayedNote, st.floats(0, 2), st.floats(0.03, 1), st.integers(60, 62), st.integers(1, 127)), max_size=12
)


@tried
@given(first=notes_at_random, second=notes_at_random)
def test_merged_parts_are_in_order_and_never_hold_a_pitch_twice(
    first: list[PlayedNote], second: list[PlayedNote]
) -> None:
    merged = merge([first, second])
    assert [note.start_s for note in merged] == sorted(note.start_s for note in merged)
    assert {note.pitch for note in merged} == {note.pitch for note in first + second}
    for place, note in enumerate(merged):
        later = [n.start_s for n in merged[place + 1 :] if n.pitch == note.pitch]
        assert all(note.end_s <= start + 1e-9 for start in later)
        assert note.duration_s >= 0.03 - 1e-9
