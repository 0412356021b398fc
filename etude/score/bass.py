"""Bass lines.

A style is a bar or two of pattern, repeated: R the chord's root, O the octave above it, 3, 5, 6 and 7 those intervals
in the chord's own form, A the semitone below the next chord's root. "walking" is made up note by note.
"""

from __future__ import annotations

from etude.score.chord import nearest
from etude.score.dice import Dice
from etude.score.form import Form
from etude.score.harmony import Harmony
from etude.score.instruments import Instrument
from etude.score.key import Key
from etude.score.note import Note
from etude.score.pattern import read

WALKING = "walking"

# By style and beats in a bar.
LINES: dict[str, dict[int, tuple[str, ...]]] = {
    "roots": {4: ("R-------",), 3: ("R-----",), 2: ("R---",)},
    "two-feel": {4: ("R---5---",), 3: ("R---5-", "R-----"), 2: ("R-5-",)},
    "waltz": {3: ("R-....", "5-....")},
    "march": {4: ("R.5.R.5.",), 2: ("R.5.", "R.5.")},
    "eighths": {4: ("RRRRRRRR",)},
    "driving": {4: ("RRRRRRRR", "RRRRRR57")},
    "pushed": {4: ("R--R--R-", "R--R--57")},
    "octaves": {4: ("RORORORO",)},
    "house": {4: ("R.O.R.O.R.O.R.O.",)},
    "offbeat": {4: ("..R...R...R...R.",)},
    "rolling": {4: (".RRR.RRR.RRR.RRR",)},
    "pulse": {4: ("R.R.R.R.R.R.R.R.",)},
    "bossa": {4: ("R--55--R",)},
    "boogie": {4: ("R-3-5-6-", "7-6-5-3-")},
    "shuffle": {4: ("RR55RR55", "RR556655")},
    "funk": {4: ("R..R..O...R.5.7.", "R..R..O.R...5.A.")},
    "slap": {4: ("R.....O.R..O..7.", "R.....O.R..O.5.A")},
    "lazy": {4: ("R----R--", "R-----5-")},
    WALKING: {},
}

# What the last bar of a phrase may have instead.
_FILL_CHANCE = 0.3
_FILLS = {4: ("R-3-5-7-", "R-5-O-5-", "R-R-5-A-"), 3: ("R-3-5-", "R-5-A-"), 2: ("R-5-", "R-A-")}


def write(style: str, harmony: Harmony, form: Form, key: Key, instrument: Instrument, dice: Dice) -> list[Note]:
    """The line of a whole piece; a walking one needs four beats in a bar."""
    if style == WALKING:
        notes = _walk(harmony, form.num_bars * form.beats_per_bar, key, instrument, dice)
    else:
        notes = _repeat(LINES[style][form.beats_per_bar], harmony, form, instrument, dice)
    if form.has_final_chord:
        notes.append(
            Note(form.final_beat, form.beats_per_bar, _root(harmony.at(form.final_beat).chord.root, instrument))
        )
    return notes


def _repeat(patterns: tuple[str, ...], harmony: Harmony, form: Form, instrument: Instrument, dice: Dice) -> list[Note]:
    notes: list[Note] = []
    for bar, place, num_bars in form.bars():
        closes = 1 < num_bars == place + 1
        pattern = patterns[place % len(patterns)]
        if closes and dice.chance(_FILL_CHANCE):
            pattern = dice.pick(_FILLS[form.beats_per_bar])
        for step in read(pattern, form.beats_per_bar):
            start = bar * form.beats_per_bar + step.start_beat
            accent = 1.0 if step.start_beat % 1 == 0 else 0.88
            notes.append(Note(start, step.num_beats, _pitch(step.symbol, harmony, start, instrument), accent))
    return notes


def _root(pitch_class: int, instrument: Instrument) -> int:
    """In the octave round the instrument's centre."""
    low = instrument.centre - 6
    return low + (pitch_class - low) % 12


def _pitch(symbol: str, harmony: Harmony, beat: float, instrument: Instrument) -> int:
    chord = harmony.at(beat).chord
    root = _root(chord.root, instrument)
    if symbol == "R":
        return root
    if symbol == "O":
        return root + 12
    if symbol == "A":
        return _root(harmony.after(beat).chord.root, instrument) - 1
    # Upwards, but for the fifth of a high root, which is below it.
    interval = chord.interval_near({"3": 4, "5": 7, "6": 9, "7": 10}[symbol])
    return root + interval - (12 if symbol == "5" and root > instrument.centre else 0)


def _walk(harmony: Harmony, num_beats: int, key: Key, instrument: Instrument, dice: Dice) -> list[Note]:
    """A quarter on every beat: the root where a chord begins, a step to the next root before it, a way between."""
    low, high = instrument.centre - 8, instrument.centre + 12
    scale = key.ladder(low, high)
    notes: list[Note] = []
    pitch = _root(harmony.at(0).chord.root, instrument)
    for beat in range(num_beats):
        span = harmony.at(beat)
        target = _into(nearest(pitch, (harmony.after(beat).chord.root,)), low, high)
        if beat == span.start_beat:
            pitch = _into(nearest(pitch, (span.chord.root,)), low, high)
        elif beat + 1 == span.end_beat and beat + 1 < num_beats:
            steps = [p for p in (target - 1, target + 1, target - 2, target + 2) if low <= p <= high and p != pitch]
            # A target folded back into the range may lie an octave off; the step to it stays within one.
            steps = [p for p in steps if abs(p - pitch) <= 12]
            pitch = dice.pick([p for p in steps if p in scale] or steps)
        else:
            chord_tones = [p for p in range(low, high + 1) if p % 12 in span.chord.pitch_classes]
            near = [p for p in chord_tones if 0 < abs(p - pitch) <= 5] + [p for p in scale if 0 < abs(p - pitch) <= 2]
            pitch = dice.pick(near)
        # The second and fourth beat swing.
        notes.append(Note(beat, 1.0, pitch, 0.92 if beat % 2 == 0 else 1.0))
    return notes


def _into(pitch: int, low: int, high: int) -> int:
    while pitch < low:
        pitch += 12
    while pitch > high:
        pitch -= 12
    return pitch
