"""Melodies: two motifs that come back over other chords, in phrases that breathe and cadence."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from itertools import pairwise

from etude.score.chord import Chord
from etude.score.dice import Dice
from etude.score.form import Form
from etude.score.harmony import Harmony
from etude.score.key import Key
from etude.score.moods import Density
from etude.score.note import Note
from etude.score.pattern import Step, read
from etude.score.rhythms import CADENCES, RHYTHMS

OSTINATO = "ostinato"

# A phrase's bars, by how many there are: the motifs a and b, and the cadence c. An ostinato has a alone.
_SHAPES = {1: ("c",), 2: ("ac",), 3: ("abc", "aac"), 4: ("abac", "aabc", "abbc")}

# Steps on the scale from one note to the next, by how often.
_STEPS = {-3: 1.0, -2: 3.0, -1: 6.0, 0: 1.0, 1: 6.0, 2: 3.0, 3: 1.0, 4: 0.5}

# Scale steps to the last note of a phrase, from above, from below, or round it.
_APPROACHES = ((2, 1, 0), (-2, -1, 0), (1, -1, 0), (4, 2, 0), (-1, 1, 0))

# Sparse motifs put on distant chords can come out as leaps and nothing else; then others are tried.
_ATTEMPTS = 20
_SMALL_STEP = 5  # semitones

# How often an offbeat before a chord note is bent to the semitone below it, by style.
_CHROMATIC = {"swing": 0.25}


@dataclass(frozen=True)
class Motif:
    """A bar. steps: its rhythm; contour: for each note its place on the scale, counted from the first."""

    steps: tuple[Step, ...]
    contour: tuple[int, ...]

    @classmethod
    def invent(cls, rhythm: str, beats: int, dice: Dice) -> Motif:
        """A line that wanders by steps, gets somewhere, and turns back before it strays."""
        steps = read(rhythm, beats)
        while True:
            contour = [0]
            for _ in steps[1:]:
                step = dice.weighted(_STEPS)
                contour.append(contour[-1] + (step if abs(contour[-1] + step) <= 4 else -step))
            if max(contour) - min(contour) >= min(len(steps) - 1, 3):
                return cls(steps, tuple(contour))

    def varied(self, dice: Dice) -> Motif:
        """The same rhythm with another ending."""
        if len(self.contour) < 3:
            return self
        *first, last = self.contour
        return replace(self, contour=(*first, last + dice.pick((-2, -1, 1, 2))))


def write(
    style: str,
    harmony: Harmony,
    form: Form,
    key: Key,
    window: tuple[int, int],
    density: Density,
    dice: Dice,
    *,
    pentatonic: bool,
) -> list[Note]:
    """The part of a whole piece in a window of pitches, which is an octave at least.

    pentatonic: whether it keeps to five notes of the scale, chord notes on the beat aside.
    """
    for _ in range(_ATTEMPTS):
        notes = _line(style, harmony, form, key, window, density, dice, pentatonic=pentatonic)
        if _moves_mostly_by_small_steps(notes):
            break
    return notes


def _moves_mostly_by_small_steps(notes: list[Note]) -> bool:
    steps = [abs(note.pitch - following.pitch) for note, following in pairwise(notes)]
    return 2 * sum(step <= _SMALL_STEP for step in steps) > len(steps)


def _line(
    style: str,
    harmony: Harmony,
    form: Form,
    key: Key,
    window: tuple[int, int],
    density: Density,
    dice: Dice,
    *,
    pentatonic: bool,
) -> list[Note]:
    beats = form.beats_per_bar
    rhythms = RHYTHMS[style].get(beats) or RHYTHMS["plain"][beats]
    first, second, *_ = (*dice.shuffled(rhythms[density]), dice.pick(rhythms["medium"]))
    motifs = {"a": Motif.invent(first, beats, dice), "b": Motif.invent(second, beats, dice)}
    singer = _Singer(harmony, key, window, beats, pentatonic=pentatonic)
    shapes = {num_bars: "a" * num_bars if style == OSTINATO else dice.pick(_SHAPES[num_bars]) for num_bars in _SHAPES}
    notes: list[Note] = []
    for bar, place, num_bars in form.bars():
        phrase = form.phrase_of(bar)
        letter = shapes[num_bars][place]
        # The third phrase of four turns the motifs round.
        if phrase % 4 == 2 and letter != "c":
            letter = "b" if letter == "a" else "a"
        if letter == "c":
            notes += singer.cadence(bar, dice, to_tonic=phrase % 2 == 1 or phrase == len(form.phrases) - 1)
        else:
            varied = style != OSTINATO and place > 0 and dice.chance(0.4)
            motif = motifs[letter].varied(dice) if varied else motifs[letter]
            # A second motif answers from a little higher.
            notes += singer.sing(motif, bar, lift=2 if letter == "b" else 0)
    if form.has_final_chord:
        notes.append(Note(form.final_beat, form.beats_per_bar, singer.tonic(notes[-1].pitch)))
    return _bent(notes, harmony, _CHROMATIC.get(style, 0.0), dice)


class _Singer:
    """Puts motifs on pitches, one bar at a time, and remembers where the last one ended."""

    def __init__(self, harmony: Harmony, key: Key, window: tuple[int, int], beats: int, *, pentatonic: bool) -> None:
        self._harmony, self._key, self._window, self._beats = harmony, key, window, beats
        self._ladder = key.ladder(*window, pentatonic=pentatonic)
        self._home = (window[0] + window[1]) // 2

    def sing(self, motif: Motif, bar: int, *, lift: int) -> list[Note]:
        """A motif over the chords of a bar, from the chord note that is nearest to the line's home."""
        start = bar * self._beats
        chord = self._harmony.at(start + motif.steps[0].start_beat).chord
        place = self._place(self._chord_note(self._home, chord)) + lift
        lowest, highest = min(motif.contour), max(motif.contour)
        place = max(-lowest, min(place, len(self._ladder) - 1 - highest))
        notes: list[Note] = []
        before = motif.contour[0]
        for step, up in zip(motif.steps, motif.contour, strict=True):
            pitch = self._ladder[max(0, min(place + up, len(self._ladder) - 1))]
            strong = step.start_beat % 2 == 0 or step.num_beats >= 1.5
            if strong:
                chord = self._harmony.at(start + step.start_beat).chord
                pitch = self._chord_note(pitch, chord)
                if notes and pitch == notes[-1].pitch and up != before:
                    # Where the motif moves, the line moves on to the next chord note.
                    pitch = self._chord_note(pitch + (3 if up > before else -3), chord)
            before = up
            notes.append(Note(start + step.start_beat, step.num_beats, pitch, 1.0 if strong else 0.85))
        return notes

    def cadence(self, bar: int, dice: Dice, *, to_tonic: bool) -> list[Note]:
        """A bar that comes to rest on a note of its last chord: the tonic, if that has it and it is asked for."""
        start = bar * self._beats
        steps = read(dice.pick(CADENCES[self._beats]), self._beats)
        chord = self._harmony.at(start + steps[-1].start_beat).chord
        home = to_tonic and self._key.tonic in chord.pitch_classes
        target = self.tonic(self._home) if home else self._chord_note(self._home, chord)
        approach = dice.pick(_APPROACHES)
        notes = []
        for step, up in zip(steps, [*approach * 2][-len(steps) :], strict=True):
            place = max(0, min(self._place(target) + up, len(self._ladder) - 1))
            pitch = target if up == 0 else self._ladder[place]
            notes.append(Note(start + step.start_beat, step.num_beats, pitch, 0.9))
        return notes

    def tonic(self, pitch: int) -> int:
        """The tonic in the window that is nearest to a pitch."""
        return self._nearest(pitch, (self._key.tonic,))

    def _place(self, pitch: int) -> int:
        return min(bisect_left(self._ladder, pitch), len(self._ladder) - 1)

    def _chord_note(self, pitch: int, chord: Chord) -> int:
        return self._nearest(pitch, chord.pitch_classes)

    def _nearest(self, pitch: int, pitch_classes: tuple[int, ...]) -> int:
        low, high = self._window
        return min((p for p in range(low, high + 1) if p % 12 in pitch_classes), key=lambda p: (abs(p - pitch), p))


def _bent(notes: list[Note], harmony: Harmony, probability: float, dice: Dice) -> list[Note]:
    """Short offbeats that lead to a chord note come from a semitone below it, now and then."""
    bent = list(notes)
    for place in range(len(notes) - 1):
        note, following = notes[place], notes[place + 1]
        leads = note.start_beat % 1 != 0 and note.num_beats <= 0.5 and note.end_beat == following.start_beat
        lands = following.pitch % 12 in harmony.at(following.start_beat).chord.pitch_classes
        if leads and lands and abs(note.pitch - following.pitch) <= 4 and dice.chance(probability):
            bent[place] = replace(note, pitch=following.pitch - 1)
    return bent
