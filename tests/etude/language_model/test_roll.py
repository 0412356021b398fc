from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.language_model.roll import NUM_BITS, NUM_ROWS, roll, roll_of
from etude.score.compose import compose
from etude.score.note import PlayedNote
from etude.score.piece import Piece, Track
from tests.etude.score.properties import tried


def test_notes_begin_and_sound_in_their_frames_and_the_beat_goes_round() -> None:
    plan = compose(3, level="solo", length_s=4.0, exact=True).plan
    flute = Track("flute", (PlayedNote(0.2, 0.1, 62, 80), PlayedNote(0.4, 0.06, 73, 80)))
    drums = Track("drum kit", (PlayedNote(0.3, 0.02, 38, 80),))
    rows = roll(Piece(plan, (flute, drums)), 30)
    begins, pitched, drum, sounds = rows[:12], rows[12], rows[13], rows[14:26]
    assert np.argwhere(begins).tolist() == [[1, 20], [2, 10]]
    assert np.flatnonzero(pitched).tolist() == [10, 20]
    assert np.flatnonzero(drum).tolist() == [15]
    assert np.argwhere(sounds).tolist() == [[1, 20], [1, 21], [1, 22], *([2, frame] for frame in range(10, 15))]
    assert plan.frames_per_beat
    assert np.flatnonzero(rows[26:NUM_BITS].all(axis=1)).tolist() == [plan.frames_per_beat - 17]
    assert rows[26:NUM_BITS].sum() == 30
    np.testing.assert_allclose(rows[NUM_BITS:, 0], [1, 0], atol=1e-3)
    beats = rows[NUM_BITS:, :: plan.frames_per_beat]
    np.testing.assert_allclose(beats, np.broadcast_to([[1.0], [0.0]], beats.shape), atol=1e-2)


@tried
@given(seed=st.integers(0, 9_999_999), level=st.sampled_from(["solo", "bands", "all"]))
def test_a_piece_is_found_again_by_what_is_written_of_it(seed: int, level: str) -> None:
    piece = compose(seed, level=level, length_s=3.0, exact=True)  # type: ignore[arg-type]
    written = json.loads(json.dumps({**piece.plan.attributes(), "split": "train"}))
    found = roll_of(written, 150)
    assert found is not None
    np.testing.assert_array_equal(found, roll(piece, 150))
    assert found.shape == (NUM_ROWS, 150)


@pytest.mark.parametrize("attributes", [{}, {"seed": 3}, {"artist": "somebody"}])
def test_of_other_clips_nothing_is_known(attributes: dict[str, object]) -> None:
    assert roll_of(attributes, 10) is None


def test_of_a_piece_that_people_play_nothing_is_known() -> None:
    assert roll_of(compose(7, length_s=3.0).plan.attributes(), 150) is None
