"""What comes before music: single notes, intervals and chords over an instrument's range, and strokes on drums.

A codec learns from these first.
"""

from __future__ import annotations

from etude.score.chord import nearest
from etude.score.dice import Dice
from etude.score.drum_patterns import DRUMS
from etude.score.harmony import Harmony
from etude.score.instruments import Instrument
from etude.score.key import Key
from etude.score.note import Note

# By what an instrument can do.
STYLES = {
    "monophonic": ("single notes", "scale"),
    "polyphonic": ("single notes", "scale", "intervals", "chords"),
    "hits": ("hits",),
}

# How long things last, and the silence after them, in beats.
_LENGTHS = {0.5: 1.0, 1.0: 3.0, 1.5: 1.0, 2.0: 2.0, 3.0: 1.0}
_RESTS = {0.0: 4.0, 0.5: 2.0, 1.0: 2.0, 2.0: 1.0}


def write(style: str, harmony: Harmony, num_beats: int, key: Key, instrument: Instrument, dice: Dice) -> list[Note]:
    """Notes of the key, one thing after another, each as loud as it happens to be."""
    ladder = key.ladder(instrument.low, instrument.high)
    place, direction = dice.integer(0, len(ladder) - 1), dice.pick((-1, 1))
    notes: list[Note] = []
    beat = 0.0
    while beat < num_beats:
        if style == "hits":
            length, pitches = 0.5 * dice.integer(1, 3), [dice.pick(tuple(DRUMS.values()))]
        elif style == "scale":
            if not 0 <= place + direction < len(ladder):
                direction = -direction
            place += direction
            length, pitches = 0.5, [ladder[place]]
        else:
            length, place = dice.weighted(_LENGTHS), dice.integer(0, len(ladder) - 1)
            pitches = [ladder[place]]
            if style == "intervals":
                pitches += [ladder[(place + dice.pick((2, 3, 4, 5, 7))) % len(ladder)]]
            if style == "chords":
                root = nearest(dice.integer(instrument.low + 6, instrument.high - 18), (harmony.at(beat).chord.root,))
                pitches = [root + up for up in harmony.at(beat).chord.intervals]
        accent = dice.uniform(0.6, 1.1)
        notes += [Note(beat, length, pitch, accent) for pitch in sorted(set(pitches))]
        rest = 0.0 if style == "scale" else dice.weighted(_RESTS)
        beat += length + rest
    return notes
