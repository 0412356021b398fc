from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.score.compose import compose, perform, write
from etude.score.drum_patterns import DRUMS
from etude.score.instruments import DRUMS as DRUM_FAMILY
from etude.score.plan import Plan
from etude.score.planner import draw_plan
from tests.etude.score.properties import tried

seeds = st.integers(0, 2**40)


def plan_where(**facts: object) -> Plan:
    """The first plan of which these are true."""
    plans = (draw_plan(seed, "all", 20.0) for seed in range(20_000))
    return next(plan for plan in plans if all(getattr(plan, name) == value for name, value in facts.items()))


@tried
@given(seed=seeds)
def test_a_seed_has_one_piece(seed: int) -> None:
    assert compose(seed) == compose(seed)


def test_seeds_have_different_pieces() -> None:
    pieces = [compose(seed, length_s=8.0) for seed in range(200)]
    assert len({piece.tracks for piece in pieces}) == 200


@tried
@given(seed=seeds)
def test_every_instrument_of_the_plan_plays_what_it_can(seed: int) -> None:
    piece = compose(seed)
    assert tuple(track.instrument for track in piece.tracks) == piece.plan.instruments
    for track in piece.tracks:
        assert track.notes
        assert all(track.player.low <= note.pitch <= track.player.high for note in track.notes)
        assert all(1 <= note.velocity <= 127 for note in track.notes)
        assert all(0 <= note.start_s < piece.plan.length_s and note.duration_s > 0 for note in track.notes)


@tried
@given(seed=seeds)
def test_a_pitch_is_let_go_before_it_is_struck_again(seed: int) -> None:
    for track in compose(seed).tracks:
        for pitch in {note.pitch for note in track.notes}:
            notes = [note for note in track.notes if note.pitch == pitch]
            assert all(a.end_s <= b.start_s + 1e-9 for a, b in pairwise(notes))


@tried
@given(seed=seeds)
def test_written_pitches_are_in_key_but_for_a_stated_few(seed: int) -> None:
    """Secondary dominants, leading notes, approaches: a third in the worst of pieces."""
    score = write(draw_plan(seed))
    pitches = [n.pitch for part, notes in score.parts if part.player.family != DRUM_FAMILY for n in notes]
    outside = sum(pitch % 12 not in score.plan.key.pitch_classes for pitch in pitches)
    assert outside <= len(pitches) / 3


def test_over_many_pieces_nine_of_ten_pitches_are_in_key() -> None:
    inside, total = 0, 0
    for seed in range(300):
        score = write(draw_plan(seed))
        for part, notes in score.parts:
            if part.player.family != DRUM_FAMILY:
                inside += sum(note.pitch % 12 in score.plan.key.pitch_classes for note in notes)
                total += len(notes)
    assert inside / total >= 0.9


@tried
@given(seed=seeds)
def test_players_are_on_the_beat_to_a_few_hundredths_of_a_second(seed: int) -> None:
    plan = replace(draw_plan(seed, "bands"), swing=0.5, opening="at once", ending="cut")
    piece = perform(write(plan))
    sixteenth_s = 60 / plan.tempo_bpm / 4
    for track in piece.tracks:
        if track.player.family == DRUM_FAMILY:
            for note in track.notes:
                place = (note.start_s - plan.lead_in_s) / sixteenth_s
                assert abs(place - round(place)) * sixteenth_s <= 0.04


def test_the_kick_of_house_marks_the_tempo() -> None:
    plan = plan_where(genre="house", has_drums=True, opening="at once", ending="cut")
    (track,) = [track for track in perform(write(plan)).tracks if track.player.family == DRUM_FAMILY]
    kicks = [note.start_s for note in track.notes if note.pitch == DRUMS["kick"]]
    beats = [b - a for a, b in pairwise(kicks) if b - a > 0.9 * 60 / plan.tempo_bpm]
    assert sum(beats) / len(beats) == pytest.approx(60 / plan.tempo_bpm, rel=0.01)


@tried
@given(seed=seeds)
def test_what_ends_ends_on_its_tonic_before_its_time_is_over(seed: int) -> None:
    plan = draw_plan(seed, "bands", 20.0)
    if plan.ending != "cadence":
        return
    score = write(plan)
    tonic = score.harmony.at(score.form.final_beat).chord
    assert tonic.root == plan.key.tonic
    for part, notes in score.parts:
        last = [note for note in notes if note.start_beat >= score.form.final_beat]
        assert last
        if part.player.family != DRUM_FAMILY:
            assert all(note.pitch % 12 in (*tonic.pitch_classes, (tonic.root + 7) % 12) for note in last)
    starts = [note.start_s for track in perform(score).tracks for note in track.notes]
    assert plan.length_s - 4.2 <= max(starts) <= plan.length_s - 1.5


def test_what_is_cut_plays_to_the_end() -> None:
    for seed in range(100):
        piece = compose(seed, level="bands", length_s=12.0)
        if piece.plan.ending == "cut":
            ends = max(note.end_s for track in piece.tracks for note in track.notes)
            assert ends >= 12.0 - piece.plan.bar_s


def test_a_piece_that_builds_up_begins_with_fewer() -> None:
    plan = plan_where(opening="building")
    starts = sorted(track.notes[0].start_s for track in perform(write(plan)).tracks)
    assert starts[-1] >= starts[0] + plan.bar_s * 0.9


def test_a_length_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="at least a second"):
        compose(0, length_s=0.5)
