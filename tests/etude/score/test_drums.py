from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.score import drums
from etude.score.dice import Dice
from etude.score.drum_patterns import DRUM_PATTERNS, DRUMS
from etude.score.form import Form
from etude.score.moods import Density
from etude.score.note import Note
from tests.etude.score.properties import tried

ALL_STYLES = [(style, beats) for style, by_beats in DRUM_PATTERNS.items() for beats in by_beats]
DENSITIES: list[Density] = ["sparse", "medium", "dense"]


def part(style: str, beats: int, density: Density = "dense", seed: int = 0, *, final: bool = False) -> list[Note]:
    return drums.write(style, Form.of(8, beats, has_final_chord=final), density, Dice(seed, "drums"))


def beats_of(notes: list[Note], *names: str) -> set[float]:
    return {note.start_beat for note in notes if note.pitch in {DRUMS[name] for name in names}}


@pytest.mark.parametrize(("style", "beats"), ALL_STYLES)
@tried
@given(density=st.sampled_from(DENSITIES), seed=st.integers(0, 10**6))
def test_every_bar_of_the_metre_is_played_and_nothing_beyond(
    style: str, beats: int, density: Density, seed: int
) -> None:
    notes = part(style, beats, density, seed)
    assert {int(note.start_beat // beats) for note in notes} == set(range(8))
    assert all(note.start_beat * 4 == int(note.start_beat * 4) for note in notes)
    assert len({(note.start_beat, note.pitch) for note in notes}) == len(notes)
    assert {note.pitch for note in notes} <= set(DRUMS.values())


@pytest.mark.parametrize("style", ["backbeat", "80s", "funk", "lo-fi", "shuffle", "driving rock"])
@tried
@given(density=st.sampled_from(DENSITIES), seed=st.integers(0, 10**6))
def test_a_backbeat_is_on_two_and_four(style: str, density: Density, seed: int) -> None:
    notes = part(style, 4, density, seed)
    unfilled = [bar * 4 for bar in range(8) if bar % 4 != 3]
    assert {bar + beat for bar in unfilled for beat in (1, 3)} <= beats_of(notes, "snare")


@pytest.mark.parametrize("style", ["four on the floor", "techno"])
@tried
@given(seed=st.integers(0, 10**6))
def test_four_on_the_floor_is_on_every_beat(style: str, seed: int) -> None:
    assert set(range(32)) <= beats_of(part(style, 4, seed=seed), "kick")


def test_a_waltz_has_its_kick_on_one_and_its_snare_after() -> None:
    notes = part("waltz", 3)
    assert beats_of(notes, "kick") >= {bar * 3 for bar in range(7)}
    assert not beats_of(notes, "kick") & {bar * 3 + beat for bar in range(7) for beat in (1, 2)}
    assert beats_of(notes, "snare") >= {bar * 3 + beat for bar in range(3) for beat in (1, 2)}


@tried
@given(seed=st.integers(0, 10**6))
def test_toms_are_for_the_ends_of_phrases_and_crashes_for_their_beginnings(seed: int) -> None:
    notes = part("backbeat", 4, seed=seed)
    assert all(beat // 4 % 4 == 3 for beat in beats_of(notes, "low tom", "mid tom", "high tom"))
    assert beats_of(notes, "crash") <= {16.0}


def test_ghost_notes_come_with_density() -> None:
    ghosts = [
        sum(note.accent < 0.5 for seed in range(20) for note in part("funk", 4, density, seed)) for density in DENSITIES
    ]
    assert ghosts[0] < ghosts[1] < ghosts[2]


@pytest.mark.parametrize(("style", "beats"), ALL_STYLES)
def test_a_piece_that_ends_has_a_last_stroke(style: str, beats: int) -> None:
    notes = part(style, beats, final=True)
    assert {note.start_beat for note in notes if note.start_beat >= 8 * beats} == {8.0 * beats}
