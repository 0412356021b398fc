from __future__ import annotations

from dataclasses import replace

from etude.score.compose import compose
from etude.score.dice import Dice
from etude.score.touch import Touch, with_touches


def test_players_keep_their_notes_and_change_how_they_are_played() -> None:
    for seed in range(20):
        piece = compose(seed, level="bands", length_s=6.0)
        played = with_touches(piece, Dice(seed, "touch"))
        assert played.plan == piece.plan
        for before, after in zip(piece.tracks, played.tracks, strict=True):
            assert after.instrument == before.instrument
            assert {note.pitch for note in after.notes} <= {note.pitch for note in before.notes}
            assert len(after.notes) >= 0.9 * len(before.notes) - 1
            assert all(0 <= note.start_s < piece.plan.length_s for note in after.notes)
            assert all(1 <= note.velocity <= 127 for note in after.notes)


def test_no_two_notes_of_a_pitch_overlap() -> None:
    piece = with_touches(compose(3, level="bands", length_s=8.0), Dice(3, "touch"))
    for track in piece.tracks:
        sounding: dict[int, float] = {}
        for note in track.notes:
            assert note.start_s >= sounding.get(note.pitch, 0.0) - 1e-9
            sounding[note.pitch] = note.end_s


def test_who_gives_the_beat_keeps_it() -> None:
    touches = [Touch.draw(Dice(seed, "touch"), leads=True) for seed in range(50)]
    assert {touch.lag_s for touch in touches} == {0.0}
    assert max(abs(Touch.draw(Dice(seed, "touch"), leads=False).lag_s) for seed in range(50)) > 0.005


def test_harder_players_are_louder() -> None:
    note = compose(0, level="solo", length_s=4.0).tracks[0].notes[0]
    note = replace(note, velocity=70)
    soft, hard = Touch(0.0, 0.0, 1.3, -10.0), Touch(0.0, 0.0, 0.8, 10.0)
    assert soft.play(note, Dice(0, "a")).velocity < hard.play(note, Dice(0, "a")).velocity
