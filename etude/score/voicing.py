"""How chords are laid out, each as near as can be to the one before."""

from __future__ import annotations

from itertools import pairwise

from etude.score.chord import Chord

# What a voicing's distance from the window's middle counts against its distance from the chord before, so that
# progressions that only ever fall don't end up in the cellar.
_CENTRE_WEIGHT = 0.5


def voices(chord: Chord, most: int, *, rootless: bool = False) -> tuple[int, ...]:
    """The pitch classes that are played when there are only so many voices: the fifth goes first, then the root.

    rootless: a bass plays the root, so chords of four and more notes do without it.
    """
    intervals = list(chord.intervals)
    if rootless and len(intervals) > 3:
        intervals.remove(0)
    for spare in (7, 0):
        if len(intervals) > most and spare in intervals:
            intervals.remove(spare)
    return tuple((chord.root + interval) % 12 for interval in intervals[:most])


def candidates(pitch_classes: tuple[int, ...], low: int, high: int) -> list[tuple[int, ...]]:
    """Every inversion in close position that fits between two pitches, both included; ascending pitches."""
    found = []
    ordered = sorted(set(pitch_classes))
    for bottom in range(low, low + 12):
        if bottom % 12 in ordered:
            close = sorted(bottom + (pitch_class - bottom) % 12 for pitch_class in ordered)
            while close[-1] <= high:
                found.append(tuple(close))
                close = [pitch + 12 for pitch in close]
    return found


def movement(before: tuple[int, ...], after: tuple[int, ...]) -> int:
    """Semitones that the voices move in all; a voice that is new or falls silent goes to or comes from the nearest."""
    if len(before) == len(after):
        return sum(abs(a - b) for a, b in zip(before, after, strict=True))
    few, many = sorted((before, after), key=len)
    return sum(min(abs(pitch - other) for other in few) for pitch in many)


def nearest_voicing(
    pitch_classes: tuple[int, ...], before: tuple[int, ...] | None, low: int, high: int
) -> tuple[int, ...]:
    """The inversion that moves least from the chord before and lies near the middle of the window.

    Raises ValueError where no inversion fits the window; an octave and a half always has one.
    """
    middle = (low + high) / 2

    def cost(voicing: tuple[int, ...]) -> tuple[float, tuple[int, ...]]:
        off_centre = abs(sum(voicing) / len(voicing) - middle)
        # Two neighbours in the bottom of a chord growl.
        clash = 3.0 if voicing[1] - voicing[0] < 3 else 0.0
        return (movement(before, voicing) if before else 0) + _CENTRE_WEIGHT * off_centre + clash, voicing

    fitting = [v for v in candidates(pitch_classes, low, high) if len(v) > 1]
    if not fitting:
        raise ValueError(f"no inversion of {pitch_classes} lies between {low} and {high}")
    return min(fitting, key=cost)


def is_close(voicing: tuple[int, ...]) -> bool:
    """Whether the notes ascend within an octave."""
    return all(a < b for a, b in pairwise(voicing)) and voicing[-1] - voicing[0] < 12
