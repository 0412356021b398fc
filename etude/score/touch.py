"""How players differ: one strikes hard and another softly, one plays ahead of the beat and another behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from etude.score.dice import Dice
from etude.score.instruments import DRUMS
from etude.score.note import PlayedNote
from etude.score.performance import merge
from etude.score.piece import Piece, Track

# Samples of a sound font change with velocity, and a piece by itself keeps to a few of its layers.
_LOUDEST, _SOFTEST = 120, 24
_LIFT, _CURVE = (-14, 16), (0.75, 1.35)

_LAG_S, _JITTER_S = (0.0, 0.012), (0.0, 0.007)
_NOTE_SPREAD = 5.0


@dataclass(frozen=True)
class Touch:
    """One player's. lag_s: behind the beat, below zero ahead of it. jitter_s: the deviation of single notes.

    curve, lift: what becomes of a velocity v of 127, 127 · (v / 127) ** curve + lift.
    """

    lag_s: float
    jitter_s: float
    curve: float
    lift: float

    @classmethod
    def draw(cls, dice: Dice, *, leads: bool) -> Touch:
        """leads: whoever gives the beat is never off it by habit."""
        lag_s = 0.0 if leads else dice.uniform(*_LAG_S) * (1 if dice.chance(0.7) else -1)
        return cls(lag_s, dice.uniform(*_JITTER_S), dice.uniform(*_CURVE), dice.uniform(*_LIFT))

    def play(self, note: PlayedNote, dice: Dice) -> PlayedNote:
        """The note as this player plays it; never before the piece begins."""
        loudness = 127 * (note.velocity / 127) ** self.curve + self.lift + dice.normal(_NOTE_SPREAD)
        start_s = max(0.0, note.start_s + self.lag_s + dice.normal(self.jitter_s))
        return replace(note, start_s=start_s, velocity=max(_SOFTEST, min(round(loudness), _LOUDEST)))


def with_touches(piece: Piece, dice: Dice) -> Piece:
    """The piece played by others, each with a touch of their own. What would start after its end is left out."""
    tracks = []
    for track in piece.tracks:
        touch = Touch.draw(dice, leads=track.player.family == DRUMS or len(piece.tracks) == 1)
        played = [touch.play(note, dice) for note in track.notes]
        notes = merge([[note for note in played if note.start_s < piece.plan.length_s]])
        # A piece is never empty: where all would be too late, it stays as it was.
        tracks.append(Track(track.instrument, notes or track.notes))
    return Piece(piece.plan, tuple(tracks))
