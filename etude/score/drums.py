"""Drum parts: a pattern that goes on, ghost notes, a fill where a phrase ends, a crash where the next begins."""

from __future__ import annotations

from dataclasses import replace

from etude.score.dice import Dice
from etude.score.drum_patterns import CYMBALS, DRUM_PATTERNS, DRUMS, FILL_OF_STYLE, FILLS, Bar
from etude.score.form import Form
from etude.score.moods import Density
from etude.score.note import Note
from etude.score.pattern import read

_ACCENTS = {"X": 1.1, "x": 0.85, "o": 0.45}
_GHOSTS = {"sparse": 0.15, "medium": 0.6, "dense": 1.0}
_SOFT_STYLES = ("swing", "bossa", "waltz", "lo-fi", "march")

# A drum rings out by itself; MIDI wants a length all the same.
_STROKE_BEATS = 0.25


def write(style: str, form: Form, density: Density, dice: Dice) -> list[Note]:
    """The part of a whole piece."""
    beats = form.beats_per_bar
    patterns = DRUM_PATTERNS[style][beats]
    home = dice.integer(0, len(patterns) - 1)
    notes: list[Note] = []
    for bar, place, num_bars in form.bars():
        # The other pattern has the second half of a long phrase's end, and every second bar of a short one.
        turn = place % 2 if num_bars < 3 or place >= num_bars - 2 else 0
        strokes = _strokes(patterns[(home + turn) % len(patterns)], beats, density, dice)
        if 1 < num_bars == place + 1 and dice.chance(0.75):
            strokes = _with_fill(strokes, dice.pick(FILLS[FILL_OF_STYLE[style]]), beats)
        if bar > 0 == place and style not in _SOFT_STYLES and dice.chance(0.8):
            strokes = _with_crash(strokes)
        notes += [replace(stroke, start_beat=bar * beats + stroke.start_beat) for stroke in strokes]
    if form.has_final_chord:
        last = ("kick", "ride") if style in _SOFT_STYLES else ("kick", "crash")
        notes += [Note(form.final_beat, _STROKE_BEATS, DRUMS[drum], 0.9) for drum in last]
    return notes


def _with_crash(strokes: list[Note]) -> list[Note]:
    """The bar with a crash in place of the other cymbals on its first beat."""
    kept = [s for s in strokes if s.start_beat > 0 or s.pitch not in CYMBALS]
    return [*kept, Note(0.0, _STROKE_BEATS, DRUMS["crash"], 0.8)]


def _strokes(pattern: Bar, beats: int, density: Density, dice: Dice) -> list[Note]:
    """A bar, counted from its own beginning."""
    strokes = []
    for drum, row in pattern.items():
        for step in read(row, beats):
            on_beat = step.start_beat % 1 == 0
            if step.symbol == "o" and drum != "kick" and not dice.chance(_GHOSTS[density]):
                continue
            # A sparse part keeps its cymbals to the beats, unless they are never on them.
            if density == "sparse" and drum == "hat" and row[0] == "x" and not on_beat:
                continue
            accent = _ACCENTS[step.symbol] * (1.0 if on_beat or DRUMS[drum] not in CYMBALS else 0.8)
            strokes.append(Note(step.start_beat, _STROKE_BEATS, DRUMS[drum], accent))
    return strokes


def _with_fill(strokes: list[Note], fill: Bar, beats: int) -> list[Note]:
    """The bar with its last beats given over to a fill; the kick on a beat stays."""
    fill_beats = len(next(iter(fill.values()))) // 4
    start = beats - fill_beats
    kept = [s for s in strokes if s.start_beat < start or (s.pitch == DRUMS["kick"] and s.start_beat % 1 == 0)]
    for drum, row in fill.items():
        for step in read(row, fill_beats):
            kept.append(Note(start + step.start_beat, _STROKE_BEATS, DRUMS[drum], _ACCENTS[step.symbol]))
    return kept
