"""Chords, read from the roman numerals in which progressions are written."""

from __future__ import annotations

import re
from dataclasses import dataclass

from etude.score.key import Key

_DEGREES = {"i": 0, "ii": 2, "iii": 4, "iv": 5, "v": 7, "vi": 9, "vii": 11}
_ACCIDENTALS = {"b": -1, "": 0, "#": 1}

# Semitones above the root, by what follows the numeral. Small numerals have a minor third.
_QUALITIES = {
    "": (0, 4, 7),
    "6": (0, 4, 7, 9),
    "7": (0, 4, 7, 10),
    "9": (0, 4, 7, 10, 14),
    "maj7": (0, 4, 7, 11),
    "maj9": (0, 4, 7, 11, 14),
    "add9": (0, 4, 7, 14),
    "sus4": (0, 5, 7),
}
_MINOR_QUALITIES = {
    "": (0, 3, 7),
    "6": (0, 3, 7, 9),
    "7": (0, 3, 7, 10),
    "9": (0, 3, 7, 10, 14),
    "dim": (0, 3, 6),
    "dim7": (0, 3, 6, 9),
    "half7": (0, 3, 6, 10),
}

_SYMBOL = re.compile(r"(b|#|)(iv|vi{0,2}|i{1,3}|IV|VI{0,2}|I{1,3})(\D*\d?)")


@dataclass(frozen=True)
class Chord:
    """root: a pitch class. intervals: semitones above it, the root's own 0 first; a ninth is 14. symbol: as written."""

    root: int
    intervals: tuple[int, ...]
    symbol: str

    @classmethod
    def read(cls, symbol: str, key: Key) -> Chord:
        """A numeral is a degree of the *major* scale, so that a minor key's sixth is "bVI". Raises ValueError."""
        match = _SYMBOL.fullmatch(symbol)
        if match is None:
            raise ValueError(f"{symbol!r} is no chord: a numeral from i to VII with, if need be, b, # or a quality")
        accidental, numeral, quality = match.groups()
        qualities = _MINOR_QUALITIES if numeral.islower() else _QUALITIES
        if quality not in qualities:
            raise ValueError(f"{symbol!r} has none of the qualities {', '.join(filter(None, qualities))}")
        root = (key.tonic + _DEGREES[numeral.lower()] + _ACCIDENTALS[accidental]) % 12
        return cls(root, qualities[quality], symbol)

    @property
    def pitch_classes(self) -> tuple[int, ...]:
        return tuple((self.root + interval) % 12 for interval in self.intervals)

    def interval_near(self, semitones: int) -> int:
        """The chord's own form of an interval: for a third (4) its major, minor or suspended one.

        The interval itself where the chord has nothing within a semitone.
        """
        return min((i for i in self.intervals if abs(i - semitones) <= 1), default=semitones)


def nearest(pitch: int, pitch_classes: tuple[int, ...]) -> int:
    """The pitch of one of these classes that is nearest, the lower of two as near."""
    return min(range(pitch - 6, pitch + 7), key=lambda p: (p % 12 not in pitch_classes, abs(p - pitch), p))
