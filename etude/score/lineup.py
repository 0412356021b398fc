"""Who plays in a piece: the instruments of a genre in groups that make sense, and the style of each part."""

from __future__ import annotations

from collections.abc import Sequence

from etude.score.bass import LINES, WALKING
from etude.score.comping import FINGERPICKING, POWER_CHORDS, STYLES
from etude.score.dice import Dice
from etude.score.drum_patterns import DRUM_PATTERNS
from etude.score.genre import Genre
from etude.score.genres import GENRES
from etude.score.instruments import DRUMS, FAMILIES, GUITARS, INSTRUMENTS
from etude.score.plan import Ensemble, Part

# "keys" is one instrument with melody and chords. By how often, where the genre has the instruments for it.
_GROUPS: dict[Ensemble, dict[tuple[str, ...], float]] = {
    "duo": {("melody", "chords"): 5, ("keys", "bass"): 2, ("keys", "drums"): 2, ("bass", "drums"): 1},
    "trio": {
        ("keys", "bass", "drums"): 4,
        ("melody", "chords", "bass"): 2,
        ("melody", "chords", "drums"): 2,
        ("melody", "bass", "drums"): 1,
        ("melody", "chords", "pad"): 2,
    },
    "band": {
        ("melody", "chords", "bass", "drums"): 6,
        ("melody", "chords", "pad", "bass", "drums"): 2,
        ("melody", "chords", "pad", "bass"): 1,
    },
}
_HELD_STYLES = ("whole", "halves")
_SLOW_MELODY = "long"


def soloist(dice: Dice) -> str:
    """An instrument, every family as often as any other."""
    family = dice.pick(FAMILIES)
    return dice.pick([name for name, instrument in INSTRUMENTS.items() if instrument.family == family])


def genres_for(instrument: str) -> list[str]:
    """The genres in which an instrument can stand alone."""
    return [
        name for name, genre in GENRES.items() if instrument in (*genre.leads, *genre.keys, *genre.basses, *genre.kits)
    ]


def solo(instrument: str, genre: Genre, beats: int, dice: Dice) -> tuple[Part, ...]:
    """The parts of one who plays alone: line or beat, melody, or melody over chords."""
    player = INSTRUMENTS[instrument]
    if player.family == DRUMS:
        return (_drums(instrument, genre, beats, dice),)
    if player.family == "bass":
        return (_bass(instrument, genre, beats, dice),)
    melody = _melody(instrument, genre, dice)
    if player.monophonic:
        return (melody,)
    chords = _chords(instrument, genre.solo_comps, beats, dice)
    return (chords,) if dice.chance(0.12) else (melody, chords)


def group(ensemble: Ensemble, genre: Genre, beats: int, dice: Dice) -> tuple[Part, ...]:
    """The parts of a duo, trio or band, no two instruments of one family. The melody comes first, drums last."""
    pools: dict[str, Sequence[str]] = {
        "melody": genre.leads,
        "chords": genre.keys,
        "keys": [name for name in genre.keys if not INSTRUMENTS[name].monophonic],
        "pad": genre.pads,
        "bass": genre.basses,
        "drums": genre.kits,
    }
    groups = {roles: weight for roles, weight in _GROUPS[ensemble].items() if all(pools[role] for role in roles)}
    while True:
        roles = dice.weighted(groups)
        chosen = {role: dice.pick(pools[role]) for role in roles}
        families = [INSTRUMENTS[name].family for name in chosen.values()]
        if len(set(families)) == len(families):
            break
    parts: list[Part] = []
    for role, name in chosen.items():
        if role == "melody" or role == "keys":
            parts.append(_melody(name, genre, dice))
        if role == "chords" or role == "keys":
            styles = genre.comps if role == "chords" or "bass" in roles else genre.solo_comps
            parts.append(_chords(name, styles, beats, dice))
        if role == "pad":
            parts.append(Part("pad", name, dice.pick(_HELD_STYLES)))
        if role == "bass":
            parts.append(_bass(name, genre, beats, dice))
        if role == "drums":
            parts.append(_drums(name, genre, beats, dice))
    return tuple(parts)


def _melody(instrument: str, genre: Genre, dice: Dice) -> Part:
    return Part("melody", instrument, _SLOW_MELODY if INSTRUMENTS[instrument].slow else dice.pick(genre.melodies))


def _chords(instrument: str, styles: tuple[str, ...], beats: int, dice: Dice) -> Part:
    if instrument == "distorted guitar":
        return Part("chords", instrument, POWER_CHORDS)
    if INSTRUMENTS[instrument].slow:
        styles = _HELD_STYLES
    if INSTRUMENTS[instrument].family not in GUITARS:
        styles = tuple(style for style in styles if style != FINGERPICKING)
    return Part("chords", instrument, dice.pick([s for s in styles if beats in STYLES[s]] or _HELD_STYLES))


def _bass(instrument: str, genre: Genre, beats: int, dice: Dice) -> Part:
    lines = [line for line in genre.lines if beats in LINES[line] or (line == WALKING and beats == 4)]
    return Part("bass", instrument, dice.pick(lines))


def _drums(instrument: str, genre: Genre, beats: int, dice: Dice) -> Part:
    return Part("drums", instrument, dice.pick([b for b in genre.beats if beats in DRUM_PATTERNS[b]]))
