"""What a piece is to be: everything that can be said of it before a note is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from etude.score.genre import Genre
from etude.score.genres import GENRES
from etude.score.instruments import DRUMS, INSTRUMENTS, Instrument
from etude.score.key import Key
from etude.score.moods import Density

Level = Literal["notes", "solo", "bands", "all"]
Role = Literal["melody", "chords", "bass", "pad", "drums", "exercise"]
Ensemble = Literal["solo", "duo", "trio", "band"]
Opening = Literal["at once", "fade in", "building"]
Ending = Literal["cut", "fade out", "cadence"]

# Long notes, and one chord for long.
_FLOATING_STYLES = ("long", "whole", "halves", "roots", "slow arpeggio", "lazy")

# Who is no further off the beat is no player but a machine.
_MACHINE_TIGHTNESS_S = 0.004

# What the codec and the language model hear at a time.
FRAME_S = 0.02

# The genre of pieces that are no music yet: single notes, intervals, chords, strokes.
EXERCISE = "exercise"


@dataclass(frozen=True)
class Part:
    """instrument: its name in INSTRUMENTS. style: of the role's own styles. One instrument may have two parts."""

    role: Role
    instrument: str
    style: str

    @property
    def player(self) -> Instrument:
        return INSTRUMENTS[self.instrument]

    @property
    def marks_beat(self) -> bool:
        """Whether the part alone makes the tempo plain."""
        return self.role not in ("pad", "exercise") and self.style not in _FLOATING_STYLES


@dataclass(frozen=True)
class Plan:
    """A piece before it is written.

    genre: its name in GENRES, or EXERCISE. mood: its name in MOODS. progression: bars as in `PROGRESSIONS`.
    swing: where the second of two equal notes falls, 0.5 straight; swing_beats: the two together.
    num_bars: without the final chord's; where the piece is cut, the last one goes beyond.
    lead_in_s: silence before the first beat, part of length_s. opening, ending: whether it begins and ends in the
    middle, gets louder or quieter, or builds up and cadences.
    loudness_db: RMS where it sounds, against full scale. lowpass_hz: where its treble is taken off, if it is.
    frames_per_beat: where it is played exactly (`exact.py`), a beat's frames of `FRAME_S`; tempo_bpm is rounded then.
    """

    seed: int
    genre: str
    ensemble: Ensemble
    parts: tuple[Part, ...]
    tempo_bpm: int
    key: Key
    beats_per_bar: int
    mood: str
    density: Density
    progression: str
    pentatonic: bool
    swing: float
    swing_beats: float
    length_s: float
    num_bars: int
    lead_in_s: float
    opening: Opening
    ending: Ending
    loudness_db: float
    lowpass_hz: int | None
    frames_per_beat: int | None = None

    @property
    def style(self) -> Genre | None:
        """None for an exercise."""
        return GENRES.get(self.genre)

    @property
    def slows(self) -> bool:
        """Whether it slows down towards its final chord."""
        return self.ending == "cadence" and self.style is not None and self.style.tightness_s > _MACHINE_TIGHTNESS_S

    @property
    def bar_s(self) -> float:
        return self.beats_per_bar * self.beat_s

    @property
    def is_exact(self) -> bool:
        """Whether it is played exactly."""
        return self.frames_per_beat is not None

    @property
    def beat_s(self) -> float:
        return 60 / self.tempo_bpm if self.frames_per_beat is None else self.frames_per_beat * FRAME_S

    @property
    def instruments(self) -> tuple[str, ...]:
        """Each once, the melody's first."""
        return tuple(dict.fromkeys(part.instrument for part in self.parts))

    @property
    def families(self) -> tuple[str, ...]:
        """Each once, the melody's first."""
        return tuple(dict.fromkeys(part.player.family for part in self.parts))

    @property
    def has_drums(self) -> bool:
        return DRUMS in self.families

    @property
    def is_pitched(self) -> bool:
        """Whether anything in it has a key."""
        return self.families != (DRUMS,)

    @property
    def has_pulse(self) -> bool:
        """Whether somebody marks the beat, so that a tempo can be heard; a sparse melody alone doesn't."""
        return any(part.marks_beat and (part.role, self.density) != ("melody", "sparse") for part in self.parts)

    def part(self, role: Role) -> Part | None:
        return next((part for part in self.parts if part.role == role), None)

    def attributes(self) -> dict[str, Any]:
        """What an evaluation wants to know, in JSON's types. key_pitch_classes: those of the scale, from the tonic."""
        return {
            "seed": self.seed,
            "genre": self.genre,
            "ensemble": self.ensemble,
            "instruments": list(self.instruments),
            "families": list(self.families),
            "has_drums": self.has_drums,
            "is_pitched": self.is_pitched,
            "has_pulse": self.has_pulse,
            "parts": [{"role": p.role, "instrument": p.instrument, "style": p.style} for p in self.parts],
            "tempo_bpm": self.tempo_bpm,
            "beats_per_bar": self.beats_per_bar,
            "key": self.key.tonic_name,
            "mode": self.key.mode,
            "key_pitch_classes": list(self.key.pitch_classes),
            "mood": self.mood,
            "density": self.density,
            "swing": round(self.swing, 3),
            "length_s": self.length_s,
            "lead_in_s": round(self.lead_in_s, 3),
            "opening": self.opening,
            "ending": self.ending,
        }
