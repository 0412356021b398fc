"""Chords as accompanists play them.

A style is a bar or two of pattern: x the chord, r its root in the bass, f its fifth there, and digits the chord's notes
from the lowest, 0, one at a time. Where a bass plays along, r and f are left to it.
"""

from __future__ import annotations

from etude.score.dice import Dice
from etude.score.form import Form
from etude.score.harmony import Harmony, Span
from etude.score.instruments import Instrument
from etude.score.note import Note
from etude.score.pattern import Step, read
from etude.score.voicing import nearest_voicing, voices

POWER_CHORDS = "power chords"
FINGERPICKING = "fingerpicking"

# By style and beats in a bar.
STYLES: dict[str, dict[int, tuple[str, ...]]] = {
    "whole": {4: ("x-------",), 3: ("x-----",), 2: ("x---",)},
    "halves": {4: ("x---x---",), 3: ("x---x-",), 2: ("x---",)},
    "quarters": {4: ("x-x-x-x-",), 3: ("x-x-x-",), 2: ("x-x-",)},
    "eighths": {4: ("xxxxxxxx",), 2: ("xxxx",)},
    "pushed": {4: ("x--x--x-",)},
    "charleston": {4: ("x-.x....", "x-.x..x.")},
    "swing": {4: ("x..x....", "..x...x.", ".x-...x.", "x..x..x.")},
    "backbeats": {4: ("..x...x.",), 2: (".x.x",)},
    "bossa": {4: ("x-.x-.x-", ".x-.x-x-")},
    "shuffle": {4: ("x.xxx.xx", "x.xx..x.")},
    "stride": {4: ("r-x-f-x-",)},
    "waltz": {3: ("r-x-x-", "f-x-x-")},
    "march": {4: ("r.x.f.x.",), 2: ("r.x.", "f.x.")},
    "offbeats": {4: ("..x...x...x...x.",), 2: (".x.x",)},
    "house": {4: ("x..x..x..x..x.x.", "x..x..x...x..x..")},
    "scratch": {4: ("..x.xx....x.x...", "..x.xx..x...x.x.")},
    "stabs": {4: ("x..x..x.........", "x..x..x....x....")},
    "lazy": {4: ("x----x--", "x--x----")},
    "alberti": {4: ("02120212",), 3: ("021212",), 2: ("0212",)},
    "broken": {4: ("01210121",), 3: ("012121",), 2: ("0121",)},
    "rising": {4: ("01230123",), 3: ("012321",), 2: ("0123",)},
    "slow arpeggio": {4: ("0-1-2-1-",), 3: ("0-1-2-",), 2: ("0-1-",)},
    "fast arpeggio": {4: ("0121012101210121",), 3: ("012101210121",), 2: ("01210121",)},
    FINGERPICKING: {4: ("r-21f-21", "r-12f-12"), 3: ("r-2121",), 2: ("r-21",)},
    "ballad": {4: ("r-12x-21",), 3: ("r-12x-",), 2: ("r-12",)},
    POWER_CHORDS: {4: ("xxxxxxxx", "x-xxx-xx")},
}

ARPEGGIOS = ("alberti", "broken", "rising", "slow arpeggio", "fast arpeggio", FINGERPICKING)
_MOST_VOICES = 4


def write(
    style: str,
    harmony: Harmony,
    form: Form,
    window: tuple[int, int],
    instrument: Instrument,
    dice: Dice,
    *,
    with_bass: bool,
) -> list[Note]:
    """The part of a whole piece in a window of pitches; with_bass: whether somebody else plays the roots."""
    beats = form.beats_per_bar
    patterns = STYLES[style][beats]
    # Mostly as written, so that it stays in the ear; now and then another bar of the style.
    bars = [
        dice.pick(patterns) if dice.chance(0.15) else patterns[place % len(patterns)] for _, place, _ in form.bars()
    ]
    if form.has_final_chord:
        bars.append("x".ljust(beats, "-"))
    notes: list[Note] = []
    voicing: tuple[int, ...] | None = None
    voiced: Span | None = None
    for bar, pattern in enumerate(bars):
        for step in _cut_at_changes(read(pattern, beats), harmony, bar * beats):
            span = harmony.at(step.start_beat)
            if span is not voiced:
                pitch_classes = voices(span.chord, _MOST_VOICES, rootless=with_bass)
                voicing, voiced = nearest_voicing(pitch_classes, voicing, *window), span
            assert voicing is not None
            notes += _strike(step, style, span, voicing, window, instrument, with_bass=with_bass)
    return notes


def _cut_at_changes(steps: tuple[Step, ...], harmony: Harmony, bar_start: float) -> list[Step]:
    """The steps counted from the piece's beginning; what is held over a change of chord is struck again there."""
    cut = []
    for step in steps:
        start, end = bar_start + step.start_beat, bar_start + step.start_beat + step.num_beats
        while start < end:
            change = min(end, harmony.at(start).end_beat) if start < harmony.spans[-1].end_beat else end
            cut.append(Step(step.symbol, start, change - start))
            start = change
    return cut


def _strike(
    step: Step,
    style: str,
    span: Span,
    voicing: tuple[int, ...],
    window: tuple[int, int],
    instrument: Instrument,
    *,
    with_bass: bool,
) -> list[Note]:
    on_beat = step.start_beat % 1 == 0
    accent = 1.0 if on_beat else 0.9
    if style == POWER_CHORDS:
        root = instrument.low + (span.chord.root - instrument.low) % 12
        return [Note(step.start_beat, step.num_beats, root + up, accent) for up in (0, 7)]
    if step.symbol in "rf":
        if with_bass:
            return []
        interval = 0 if step.symbol == "r" else span.chord.interval_near(7)
        floor = max(instrument.low, window[0] - 12)
        pitch = floor + (span.chord.root + interval - floor) % 12
        return [Note(step.start_beat, step.num_beats, pitch, 1.0)]
    if step.symbol == "x":
        return [Note(step.start_beat, step.num_beats, pitch, accent * 0.9) for pitch in voicing]
    place = int(step.symbol)
    octave_up = 12 if place >= len(voicing) else 0
    pitch = voicing[place % len(voicing)] + octave_up
    return [Note(step.start_beat, step.num_beats, pitch if pitch <= instrument.high else pitch - 12, accent)]
