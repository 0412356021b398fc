from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.score.compose import compose
from etude.score.exact import exactly
from etude.score.plan import EXERCISE, FRAME_S
from etude.score.planner import draw_plan
from tests.etude.score.properties import tried


@tried
@given(seed=st.integers(0, 9_999_999))
def test_every_note_of_an_exact_piece_is_on_frames(seed: int) -> None:
    piece = compose(seed, length_s=8.0, exact=True)
    notes = [note for track in piece.tracks for note in track.notes]
    assert notes
    for note in notes:
        assert note.start_s / FRAME_S == pytest.approx(round(note.start_s / FRAME_S))
        assert note.duration_s / FRAME_S == pytest.approx(max(1, round(note.duration_s / FRAME_S)))
        assert 0 <= note.start_s < 8.0
        assert note.velocity % 16 == 0 or note.velocity == 127


@tried
@given(seed=st.integers(0, 9_999_999), level=st.sampled_from(["solo", "bands", "all"]))
def test_an_exact_beat_is_the_nearest_of_whole_frames(seed: int, level: str) -> None:
    drawn = draw_plan(seed, level)  # type: ignore[arg-type]
    plan = exactly(drawn)
    assert plan.beat_s / FRAME_S == pytest.approx(plan.frames_per_beat)
    assert abs(plan.beat_s - 60 / drawn.tempo_bpm) <= FRAME_S / 2 + 1e-9
    assert plan.tempo_bpm == pytest.approx(60 / plan.beat_s, abs=0.5)
    assert plan.num_bars * plan.bar_s >= plan.length_s > (plan.num_bars - 1) * plan.bar_s


def test_bars_of_drums_repeat_to_the_frame() -> None:
    """What is written the same is played the same: no bar differs from the next but by what is written."""
    plans = (draw_plan(seed, "solo", 12.0) for seed in range(1000))
    seed = next(plan.seed for plan in plans if plan.families == ("drums",) and plan.genre != EXERCISE)
    piece = compose(seed, level="solo", length_s=12.0, exact=True)
    bar_s = piece.plan.bar_s
    (track,) = piece.tracks

    def bar(number: int) -> set[tuple[int, int]]:
        within = [n for n in track.notes if number * bar_s - 1e-6 <= n.start_s < (number + 1) * bar_s - 1e-6]
        return {(round((n.start_s - number * bar_s) / FRAME_S), n.pitch) for n in within}

    bars = [bar(number) for number in range(int(12.0 / bar_s))]
    assert len(set(map(frozenset, bars))) < len(bars)


def test_people_play_as_before() -> None:
    plan = compose(11).plan
    assert not plan.is_exact
    assert plan.beat_s == 60 / plan.tempo_bpm
