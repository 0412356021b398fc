"""Draws plans: of all that could be written, what makes sense together."""

from __future__ import annotations

import math

from etude.score.clock import SLOWNESS
from etude.score.dice import Dice
from etude.score.exercise import STYLES as EXERCISE_STYLES
from etude.score.genres import GENRES
from etude.score.instruments import DRUMS, INSTRUMENTS
from etude.score.key import Key, Mode
from etude.score.lineup import genres_for, group, solo, soloist
from etude.score.moods import MOODS
from etude.score.plan import EXERCISE, Ending, Ensemble, Level, Opening, Part, Plan
from etude.score.progressions import PROGRESSIONS

SLOWEST_BPM, FASTEST_BPM = 60, 180

_LENGTHS_S = {8: 1.0, 10: 3.0, 12: 2.0, 15: 2.0, 20: 2.0, 30: 3.0}
_ENSEMBLES: dict[Level, dict[Ensemble | None, float]] = {
    "notes": {None: 1.0},
    "solo": {"solo": 1.0},
    "bands": {"duo": 1.0, "trio": 1.2, "band": 1.2},
    "all": {None: 0.05, "solo": 0.35, "duo": 0.18, "trio": 0.21, "band": 0.21},
}
_OPENINGS: dict[Opening, float] = {"at once": 0.8, "fade in": 0.08, "building": 0.12}
_ENDINGS: dict[Ending, float] = {"cut": 0.45, "fade out": 0.18, "cadence": 0.37}

# A final chord has at least and at most this long until the piece's length is over.
_FINAL_CHORD_S = (1.8, 4.0)


def draw_plan(seed: int, level: Level = "all", length_s: float | None = None) -> Plan:
    """The plan of a seed. level: how much plays at once, None of length_s leaves it to chance."""
    dice = Dice(seed, "plan")
    length = length_s if length_s is not None else float(dice.weighted(_LENGTHS_S))
    ensemble = dice.weighted(_ENSEMBLES[level])
    if ensemble is None:
        return _exercise(seed, length, dice)

    if ensemble == "solo":
        instrument = soloist(dice)
        genre_name = dice.pick(genres_for(instrument))
        genre = GENRES[genre_name]
        beats = dice.pick(genre.metres)
        parts = solo(instrument, genre, beats, dice)
    else:
        genre_name = dice.pick([name for name in GENRES if ensemble != "band" or name != "ambient"])
        genre = GENRES[genre_name]
        beats = dice.pick(genre.metres)
        parts = group(ensemble, genre, beats, dice)

    mode = dice.pick(genre.modes)
    slowest, fastest = genre.tempo_bpm
    fitting = [
        name
        for name in genre.moods
        if mode in MOODS[name].modes and MOODS[name].slowest <= fastest - 8 and MOODS[name].fastest >= slowest + 8
    ]
    mood_name = dice.pick(fitting)
    mood = MOODS[mood_name]
    tempo = _tempo(max(slowest, mood.slowest), min(fastest, mood.fastest), dice)
    opening, ending = dice.weighted(_OPENINGS), dice.weighted(_ENDINGS)
    bar_s = beats * 60 / tempo
    lead_in_s = _lead_in_s(0.25, length, dice)
    if opening == "building" and (len(parts) < 3 or length < 6 * bar_s):
        opening = "at once"
    num_bars = math.ceil((length - lead_in_s) / bar_s)
    if ending == "cadence":
        # A bar that slows down evenly is longer by half of what its last beat is.
        before_final_s = length - lead_in_s - _FINAL_CHORD_S[0] - (SLOWNESS - 1) / 2 * bar_s
        if before_final_s >= 2 * bar_s and before_final_s % bar_s <= _FINAL_CHORD_S[1] - _FINAL_CHORD_S[0]:
            num_bars = int(before_final_s / bar_s)
        else:
            ending = "cut"
    return Plan(
        seed=seed,
        genre=genre_name,
        ensemble=ensemble,
        parts=parts,
        tempo_bpm=tempo,
        key=Key(dice.integer(0, 11), mode),
        beats_per_bar=beats,
        mood=mood_name,
        density=dice.pick(mood.densities),
        progression=dice.pick(PROGRESSIONS[genre_name][mode]),
        pentatonic=dice.chance(genre.pentatonic),
        swing=dice.uniform(*genre.swing),
        swing_beats=genre.swing_beats,
        length_s=length,
        num_bars=num_bars,
        lead_in_s=lead_in_s,
        opening=opening,
        ending=ending,
        loudness_db=-24 + 6 * mood.loudness + dice.uniform(-3, 3),
        lowpass_hz=dice.integer(3000, 7000) if genre_name == "lo-fi hip hop" and dice.chance(0.6) else None,
    )


def _lead_in_s(probability: float, length_s: float, dice: Dice) -> float:
    """Sometimes none, and never an eighth of the piece."""
    return dice.uniform(0.05, min(0.8, length_s / 8)) if dice.chance(probability) else 0.0


def _tempo(slowest: int, fastest: int, dice: Dice) -> int:
    """Half of them round figures, as people ask for."""
    tempo = dice.integer(slowest, fastest)
    rounded = 5 * round(tempo / 5)
    return rounded if dice.chance(0.5) and slowest <= rounded <= fastest else tempo


def _exercise(seed: int, length_s: float, dice: Dice) -> Plan:
    """One instrument, one thing at a time."""
    instrument = soloist(dice)
    player = INSTRUMENTS[instrument]
    kind = "hits" if player.family == DRUMS else "monophonic" if player.monophonic else "polyphonic"
    mode: Mode = dice.pick(("major", "minor"))
    tempo = _tempo(SLOWEST_BPM, FASTEST_BPM, dice)
    return Plan(
        seed=seed,
        genre=EXERCISE,
        ensemble="solo",
        parts=(Part("exercise", instrument, dice.pick(EXERCISE_STYLES[kind])),),
        tempo_bpm=tempo,
        key=Key(dice.integer(0, 11), mode),
        beats_per_bar=4,
        mood=dice.pick(("calm", "energetic", "solemn")),
        density="sparse",
        progression="I IV V I" if mode == "major" else "i iv v i",
        pentatonic=False,
        swing=0.5,
        swing_beats=1.0,
        length_s=length_s,
        num_bars=math.ceil(length_s / (4 * 60 / tempo)),
        lead_in_s=_lead_in_s(0.5, length_s, dice),
        opening="at once",
        ending="cut",
        loudness_db=dice.uniform(-28, -17),
        lowpass_hz=None,
    )
