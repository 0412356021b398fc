"""Keys: a tonic and a mode, and the pitch classes that belong to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["major", "minor", "blues"]

# Semitones above the tonic. The blues has both thirds, and the minor seventh.
SCALES: dict[Mode, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "blues": (0, 2, 3, 4, 5, 7, 9, 10),
}

# Five notes of each that fit nearly any chord of the mode.
PENTATONICS: dict[Mode, tuple[int, ...]] = {
    "major": (0, 2, 4, 7, 9),
    "minor": (0, 3, 5, 7, 10),
    "blues": (0, 3, 5, 7, 10),
}

# As each is usually spelt, from C upwards.
_NAMES: dict[Mode, tuple[str, ...]] = {
    "major": ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"),
    "minor": ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B"),
    "blues": ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"),
}


@dataclass(frozen=True)
class Key:
    """tonic: a pitch class, 0 for C."""

    tonic: int
    mode: Mode

    @property
    def tonic_name(self) -> str:
        """In note letters, with # or b: "F#"."""
        return _NAMES[self.mode][self.tonic]

    @property
    def pitch_classes(self) -> tuple[int, ...]:
        """Those of the scale, ascending from the tonic."""
        return tuple((self.tonic + step) % 12 for step in SCALES[self.mode])

    def ladder(self, low: int, high: int, *, pentatonic: bool = False) -> tuple[int, ...]:
        """The MIDI pitches of the scale from low to high, both included, ascending."""
        steps = (PENTATONICS if pentatonic else SCALES)[self.mode]
        return tuple(pitch for pitch in range(low, high + 1) if (pitch - self.tonic) % 12 in steps)
