from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from etude.score import bass, comping
from etude.score.drum_patterns import DRUM_PATTERNS, DRUMS, FILL_OF_STYLE, FILLS
from etude.score.genres import GENRES
from etude.score.pattern import Step, read
from etude.score.rhythms import CADENCES, RHYTHMS


def test_a_bar_is_read_as_it_is_written() -> None:
    assert read("x-x-x---", 4) == (Step("x", 0, 1), Step("x", 1, 1), Step("x", 2, 2))
    assert read(".R5-", 2) == (Step("R", 0.5, 0.5), Step("5", 1, 1))
    assert read("....", 4) == ()


@pytest.mark.parametrize("pattern", ["-x--", "x.-."])
def test_a_dash_holds_something(pattern: str) -> None:
    with pytest.raises(ValueError, match="holds nothing"):
        read(pattern, 4)


def written() -> Iterator[tuple[str, int]]:
    for styles in (bass.LINES, comping.STYLES):
        for by_beats in styles.values():
            yield from ((pattern, beats) for beats, patterns in by_beats.items() for pattern in patterns)
    for by_metre in DRUM_PATTERNS.values():
        for beats, bars in by_metre.items():
            yield from ((row, beats) for bar in bars for row in bar.values())
    for by_metre_and_density in RHYTHMS.values():
        for beats, by_density in by_metre_and_density.items():
            yield from ((pattern, beats) for patterns in by_density.values() for pattern in patterns)
    for beats, cadences in CADENCES.items():
        yield from ((pattern, beats) for pattern in cadences)


@pytest.mark.parametrize(("pattern", "beats"), sorted(set(written())))
def test_every_written_bar_divides_its_beats_in_halves_or_quarters_and_fills_them(pattern: str, beats: int) -> None:
    assert len(pattern) / beats in (1, 2, 4)
    steps = read(pattern, beats)
    assert steps
    assert all(a.start_beat + a.num_beats <= b.start_beat for a, b in pairwise(steps))
    assert steps[-1].start_beat + steps[-1].num_beats <= beats


def test_drum_rows_of_a_bar_are_of_known_drums_and_one_length() -> None:
    bars = [bar for by_metre in DRUM_PATTERNS.values() for bars in by_metre.values() for bar in bars]
    for bar in bars + [fill for fills in FILLS.values() for fill in fills]:
        assert set(bar) <= set(DRUMS)
        assert len({len(row) for row in bar.values()}) == 1
        assert set("".join(bar.values())) <= set(".Xxo")
    assert set(FILL_OF_STYLE) == set(DRUM_PATTERNS)


def test_the_longest_note_of_a_cadence_is_its_last() -> None:
    for beats, patterns in CADENCES.items():
        for pattern in patterns:
            lengths = [step.num_beats for step in read(pattern, beats)]
            assert lengths[-1] == max(lengths)


@pytest.mark.parametrize("name", GENRES)
def test_every_genre_is_made_of_styles_that_exist_for_its_metres(name: str) -> None:
    genre = GENRES[name]
    for beats in genre.metres:
        for styles in (genre.comps, genre.solo_comps):
            assert any(beats in comping.STYLES[style] for style in styles)
        assert not genre.basses or any(style == bass.WALKING or beats in bass.LINES[style] for style in genre.lines)
        assert not genre.kits or any(beats in DRUM_PATTERNS[style] for style in genre.beats)
        for style in genre.melodies:
            assert beats in RHYTHMS[style] or beats in RHYTHMS["plain"]
    assert bool(genre.kits) == bool(genre.beats)
