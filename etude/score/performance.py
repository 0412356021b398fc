"""How players play what is written: dynamics, timing that is human, articulation, strummed chords."""

from __future__ import annotations

from collections.abc import Iterable

from etude.score.clock import Clock
from etude.score.dice import Dice
from etude.score.drum_patterns import CYMBALS
from etude.score.exact import on_frames
from etude.score.form import Form
from etude.score.instruments import GUITARS, Instrument
from etude.score.moods import MOODS
from etude.score.note import Note, PlayedNote
from etude.score.plan import Plan, Role

# The music's foreground and background.
_PROMINENCE: dict[Role, float] = {
    "melody": 1.08,
    "chords": 0.82,
    "bass": 1.0,
    "pad": 0.74,
    "drums": 1.0,
    "exercise": 1.0,
}

# How much of its written length a note sounds, but for the longest, which lose no more than a breath.
_BREATH_S = 0.12
_SUSTAIN: dict[Role, float] = {
    "melody": 0.93,
    "chords": 0.86,
    "bass": 0.88,
    "pad": 0.99,
    "drums": 1.0,
    "exercise": 0.95,
}
_STRUM_S = 0.011

# A phrase swells until its middle and ebbs away again, by this much of its loudness either way.
_SWELL = 0.07
_LOUDNESS_SPREAD = 0.035
_EXERCISE_TIGHTNESS_S = 0.004
_SHORTEST_S = 0.03


def play(
    role: Role, player: Instrument, notes: list[Note], plan: Plan, form: Form, clock: Clock, dice: Dice
) -> list[PlayedNote]:
    """A part as it sounds, whatever starts after the piece's length left out."""
    tightness_s = plan.style.tightness_s if plan.style else _EXERCISE_TIGHTNESS_S
    swell, spread = _SWELL, _LOUDNESS_SPREAD
    base = (46 + 62 * MOODS[plan.mood].loudness) * _PROMINENCE[role]
    strum_s = _STRUM_S if player.family in GUITARS and role in ("chords", "pad") else 0.0
    if plan.is_exact:
        tightness_s = strum_s = swell = spread = 0.0
    played = []
    chord_start, place, off_s = -1.0, 0, 0.0
    for note in sorted(notes, key=lambda n: (n.start_beat, n.pitch)):
        if note.start_beat == chord_start:
            # The notes of a chord stay together; a strum is on purpose.
            place += 1
        else:
            chord_start, place, off_s = note.start_beat, 0, dice.normal(tightness_s)
        start_s = max(clock.seconds(note.start_beat) + off_s + place * strum_s, 0.0)
        written_s = clock.seconds(note.end_beat) - clock.seconds(note.start_beat)
        sounds_s = max(written_s * _SUSTAIN[role], written_s - _BREATH_S, _SHORTEST_S)
        loudness = base * note.accent * (1 + swell * _swell(note.start_beat, form)) * (1 + dice.normal(spread))
        if role == "drums" and note.pitch in CYMBALS:
            loudness *= player.cymbals
        velocity = max(1, min(round(loudness), 127))
        sounding = PlayedNote(start_s, sounds_s, note.pitch, velocity)
        if plan.is_exact:
            sounding = on_frames(sounding)
        if sounding.start_s < plan.length_s:
            played.append(sounding)
    return played


def _swell(beat: float, form: Form) -> float:
    """From -1 at both ends of a phrase to 1 in its middle."""
    start = 0
    for num_bars in form.phrases:
        length = num_bars * form.beats_per_bar
        if beat < start + length:
            within = (beat - start) / length
            return 1 - 4 * abs(within - 0.5)
        start += length
    return 0.0


def merge(parts: Iterable[list[PlayedNote]]) -> tuple[PlayedNote, ...]:
    """The parts of one instrument as one: a pitch that is struck again while it sounds is let go first."""
    notes: list[PlayedNote] = []
    sounding: dict[int, int] = {}
    for note in sorted((n for part in parts for n in part), key=lambda n: (n.start_s, n.pitch, -n.velocity)):
        before = sounding.get(note.pitch)
        if before is not None and notes[before].end_s > note.start_s:
            earlier = notes[before]
            if note.start_s - earlier.start_s < _SHORTEST_S:
                continue
            notes[before] = PlayedNote(earlier.start_s, note.start_s - earlier.start_s, earlier.pitch, earlier.velocity)
        sounding[note.pitch] = len(notes)
        notes.append(note)
    return tuple(notes)
