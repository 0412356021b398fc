"""A piece as it is played."""

from __future__ import annotations

from dataclasses import dataclass

from etude.score.instruments import INSTRUMENTS, Instrument
from etude.score.note import PlayedNote
from etude.score.plan import Plan


@dataclass(frozen=True)
class Track:
    """What one instrument plays, all its parts together, in order of time. Of one pitch, no two notes overlap."""

    instrument: str
    notes: tuple[PlayedNote, ...]

    @property
    def player(self) -> Instrument:
        return INSTRUMENTS[self.instrument]


@dataclass(frozen=True)
class Piece:
    """A track for each of the plan's instruments, in its order. Notes begin before the plan's length is over."""

    plan: Plan
    tracks: tuple[Track, ...]
