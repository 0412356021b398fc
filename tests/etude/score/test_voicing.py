from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.score.chord import Chord
from etude.score.genres import GENRES
from etude.score.harmony import Harmony
from etude.score.key import Key
from etude.score.progressions import PROGRESSIONS
from etude.score.voicing import candidates, movement, nearest_voicing, voices
from tests.etude.score.properties import tried

pitch_class_sets = st.sets(st.integers(0, 11), min_size=3, max_size=4).map(lambda found: tuple(sorted(found)))


@tried
@given(pitch_classes=pitch_class_sets, low=st.integers(36, 60))
def test_candidates_are_all_the_close_positions(pitch_classes: tuple[int, ...], low: int) -> None:
    high = low + 18
    pitches = [pitch for pitch in range(low, high + 1) if pitch % 12 in pitch_classes]
    every = {
        chord
        for chord in combinations(pitches, len(pitch_classes))
        if {pitch % 12 for pitch in chord} == set(pitch_classes) and chord[-1] - chord[0] < 12
    }
    assert set(candidates(pitch_classes, low, high)) == every


@tried
@given(pitch_classes=pitch_class_sets, before=pitch_class_sets, low=st.integers(36, 60))
def test_the_chosen_inversion_is_about_the_nearest(
    pitch_classes: tuple[int, ...], before: tuple[int, ...], low: int
) -> None:
    first = nearest_voicing(before, None, low, low + 18)
    chosen = nearest_voicing(pitch_classes, first, low, low + 18)
    least = min(movement(first, other) for other in candidates(pitch_classes, low, low + 18))
    # What it may give away for lying in the middle, and for a clear bottom.
    assert movement(first, chosen) <= least + 0.5 * 9 + 3


@pytest.mark.parametrize("genre", GENRES)
@pytest.mark.parametrize("tonic", [0, 5, 10])
def test_voices_move_by_small_steps_through_every_progression(genre: str, tonic: int) -> None:
    for mode in GENRES[genre].modes:
        for progression in PROGRESSIONS[genre][mode]:
            harmony = Harmony.lay_out(progression.split() * 2, Key(tonic, mode), 4)
            voicing, voicings = None, []
            for span in harmony:
                voicing = nearest_voicing(voices(span.chord, 4), voicing, 52, 69)
                voicings.append(voicing)
            for a, b in pairwise(voicings):
                assert movement(a, b) / len(b) <= 4
                if len(a) == len(b):
                    assert max(abs(x - y) for x, y in zip(a, b, strict=True)) <= 6


def test_spare_notes_go_fifth_first() -> None:
    ninth = Chord.read("V9", Key(0, "major"))
    assert voices(ninth, 4) == (7, 11, 5, 9)
    assert voices(ninth, 4, rootless=True) == (11, 2, 5, 9)
    assert voices(Chord.read("I", Key(0, "major")), 4, rootless=True) == (0, 4, 7)


def test_a_window_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="no inversion"):
        nearest_voicing((0, 4, 7), None, 60, 64)
