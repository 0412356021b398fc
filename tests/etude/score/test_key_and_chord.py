from __future__ import annotations

import pytest

from etude.score.chord import Chord, nearest
from etude.score.genres import GENRES
from etude.score.harmony import Harmony
from etude.score.key import SCALES, Key
from etude.score.progressions import PROGRESSIONS

C, A_MINOR = Key(0, "major"), Key(9, "minor")


def test_relative_keys_share_their_notes() -> None:
    assert sorted(C.pitch_classes) == sorted(A_MINOR.pitch_classes) == [0, 2, 4, 5, 7, 9, 11]
    assert Key(6, "major").tonic_name == "F#"
    assert Key(3, "minor").tonic_name == "Eb"


def test_a_ladder_is_the_scale_within_its_bounds() -> None:
    assert C.ladder(60, 72) == (60, 62, 64, 65, 67, 69, 71, 72)
    assert A_MINOR.ladder(57, 69, pentatonic=True) == (57, 60, 62, 64, 67, 69)


@pytest.mark.parametrize(
    ("symbol", "pitch_classes"),
    [
        ("I", (0, 4, 7)),
        ("ii7", (2, 5, 9, 0)),
        ("V7", (7, 11, 2, 5)),
        ("Imaj9", (0, 4, 7, 11, 2)),
        ("iv", (5, 8, 0)),
        ("bVII", (10, 2, 5)),
        ("viihalf7", (11, 2, 5, 9)),
        ("#ivdim7", (6, 9, 0, 3)),
    ],
)
def test_numerals_are_read_as_musicians_do(symbol: str, pitch_classes: tuple[int, ...]) -> None:
    assert Chord.read(symbol, C).pitch_classes == pitch_classes


@pytest.mark.parametrize("symbol", ["", "VIII", "H7", "Ihalf7", "imaj7", "I7 "])
def test_what_is_no_chord_is_refused(symbol: str) -> None:
    with pytest.raises(ValueError, match=r"no chord|none of the qualities"):
        Chord.read(symbol, C)


def test_a_chord_has_its_own_form_of_an_interval() -> None:
    minor_seventh = Chord.read("ii7", C)
    assert [minor_seventh.interval_near(i) for i in (4, 7, 10)] == [3, 7, 10]
    assert Chord.read("I", C).interval_near(10) == 10


@pytest.mark.parametrize("pitch", range(40, 80))
def test_nearest_is_nearest(pitch: int) -> None:
    classes = (0, 4, 7)
    found = nearest(pitch, classes)
    assert found % 12 in classes
    assert all(abs(p - pitch) >= abs(found - pitch) for p in range(128) if p % 12 in classes)


@pytest.mark.parametrize("genre", GENRES)
def test_every_mode_of_a_genre_has_progressions_that_make_the_key_plain(genre: str) -> None:
    for mode in GENRES[genre].modes:
        key = Key(0, mode)
        for progression in PROGRESSIONS[genre][mode]:
            bars = progression.split()
            spans = Harmony.lay_out(bars, key, 4).spans
            roots = [span.chord.root for span in spans]
            assert 0 in roots[:3], progression
            inside = [p % 12 in SCALES[mode] for span in spans for p in span.chord.pitch_classes]
            assert sum(inside) / len(inside) >= 0.75, progression


def test_chords_follow_each_other_without_a_gap() -> None:
    harmony = Harmony.lay_out(["I", "ii7|V7"], C, 4)
    assert [(s.start_beat, s.end_beat, s.chord.symbol) for s in harmony] == [
        (0, 4, "I"),
        (4, 6, "ii7"),
        (6, 8, "V7"),
    ]
    assert harmony.at(5.9).chord.symbol == "ii7"
    assert harmony.after(5.9).chord.symbol == "V7"
    assert harmony.at(100).chord.symbol == harmony.after(7).chord.symbol == "V7"
