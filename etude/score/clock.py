"""From beats to seconds: tempo, swing, and slowing down at the end."""

from __future__ import annotations

from dataclasses import dataclass

# How much longer the last beat before a final chord takes than the others, where a piece slows down.
SLOWNESS = 1.3


@dataclass(frozen=True)
class Clock:
    """beat_s: of a beat, before it slows down. lead_in_s: when beat 0 is. swing, swing_beats: as a Plan has them.

    slows_from_beat: where it starts to slow down evenly, if it does, until a beat takes `slowness` times as long, at
    slow_beat; from there on that is its tempo.
    """

    beat_s: float
    lead_in_s: float = 0.0
    swing: float = 0.5
    swing_beats: float = 1.0
    slows_from_beat: float | None = None
    slow_beat: float = 0.0
    slowness: float = 1.0

    def seconds(self, beat: float) -> float:
        """When a beat is, or a part of one."""
        return self.lead_in_s + self._stretched(self._swung(beat)) * self.beat_s

    def _swung(self, beat: float) -> float:
        """The first of every two equal notes takes `swing` of them; what is within either goes along evenly."""
        pair, within = divmod(beat, self.swing_beats)
        half = self.swing_beats / 2
        late = self.swing * self.swing_beats
        if within < half:
            return pair * self.swing_beats + within / half * late
        return pair * self.swing_beats + late + (within - half) / half * (self.swing_beats - late)

    def _stretched(self, beat: float) -> float:
        """The integral of a beat's length, which grows evenly from 1 to `slowness`."""
        if self.slows_from_beat is None or beat <= self.slows_from_beat:
            return beat
        span = self.slow_beat - self.slows_from_beat
        into = min(beat - self.slows_from_beat, span)
        slowed = into + (self.slowness - 1) * into * into / (2 * span)
        return self.slows_from_beat + slowed + self.slowness * max(0.0, beat - self.slow_beat)
