"""Notes as they are written, and as they are played."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """As written. pitch: MIDI's, 60 for middle C; of drums, General MIDI's number of the drum.

    accent: how loud, 1 for the part's own level.
    """

    start_beat: float
    num_beats: float
    pitch: int
    accent: float = 1.0

    @property
    def end_beat(self) -> float:
        return self.start_beat + self.num_beats


@dataclass(frozen=True)
class PlayedNote:
    """As played. velocity: MIDI's, 1 to 127."""

    start_s: float
    duration_s: float
    pitch: int
    velocity: int

    @property
    def end_s(self) -> float:
        return self.start_s + self.duration_s
