"""What a piece is, in words: one word or a sentence, and never more than is true."""

from __future__ import annotations

import re
from dataclasses import dataclass

from etude.score import words
from etude.score.dice import Dice
from etude.score.plan import EXERCISE, Plan
from etude.score.speaker import Speaker

_ENSEMBLES = {"duo": ("duo",), "trio": ("trio",), "band": ("band", "group")}
_DRUMLESS_BANDS = ("ensemble", "group")
_REQUESTS = ("make ", "play ", "create ", "i want ", "please play ")
_EXERCISES = {
    "single notes": ("single notes", "one note at a time"),
    "scale": ("a scale",),
    "intervals": ("intervals", "two notes at a time"),
    "chords": ("chords", "single chords"),
    "hits": ("single hits", "one hit at a time"),
}


@dataclass(frozen=True)
class Description:
    """text: as somebody might ask for the piece. states_tempo, states_key: whether it has them in figures and letters.

    families: of the instruments it names. says_no_drums: in so many words.
    """

    text: str
    states_tempo: bool
    states_key: bool
    families: tuple[str, ...]
    says_no_drums: bool

    @property
    def facts(self) -> int:
        """How many of these it says: tempo, key, instruments, no drums."""
        return self.states_tempo + self.states_key + bool(self.families) + self.says_no_drums


def describe(plan: Plan, variant: int) -> Description:
    """One of the plan's endless descriptions, always the same for a variant's number.

    Who plays alone is always named: a genre alone promises more than one flute.
    """
    dice = Dice(plan.seed, f"description {variant}")
    while True:
        speaker = Speaker(plan, dice)
        text = _exercise(speaker) if plan.genre == EXERCISE else _tell(speaker)
        if plan.ensemble != "solo" or speaker.families:
            break
    text = " ".join(text.split()).replace(" ,", ",")
    # "synth synth pop"
    text = re.sub(r"\b(\w+) \1\b", r"\1", text)
    if dice.chance(0.4):
        text = text[0].upper() + text[1:] + ("." if " " in text and dice.chance(0.5) else "")
    return Description(text, speaker.says_tempo, speaker.says_key, speaker.families, speaker.says_no_drums)


def describe_often(plan: Plan, count: int) -> tuple[Description, ...]:
    """So many descriptions of one plan, or fewer where there are hardly as many; no two of the same words."""
    found: dict[str, Description] = {}
    for variant in range(4 * count):
        description = describe(plan, variant)
        found.setdefault(description.text.lower().rstrip("."), description)
        if len(found) == count:
            break
    return tuple(found.values())


def describe_fully(plan: Plan, count: int) -> tuple[Description, ...]:
    """So many descriptions of one plan, or fewer, most of them saying much: who is to follow words must hear them.

    Of twice as many two thirds are those that say most, the fullest first, and the rest are whatever else was said.
    """
    found = describe_often(plan, 2 * count)
    fullest = sorted(found, key=lambda description: -description.facts)[: 2 * count // 3]
    others = [description for description in found if description not in fullest]
    return (*fullest, *others[: count - len(fullest)])


def _exercise(say: Speaker) -> str:
    (part,) = say.plan.parts
    name, what = say.name(part), say.dice.pick(_EXERCISES[part.style])
    if part.style == "scale" and say.dice.chance(0.5):
        key = say.key()
        return f"{words.article(key)} {key} scale on the {name}"
    key = say.maybe(0.3, say.in_key)
    return say.dice.pick((f"{what} on the {name} {key}", f"{name}, {what} {key}"))


def _tell(say: Speaker) -> str:
    shapes = {_one_word: 0.09, _tags: 0.2, _phrase: 0.27, _for_instruments: 0.18, _played: 0.12}
    if say.plan.ensemble != "solo":
        shapes[_together] = 0.14
    return say.dice.weighted(shapes)(say)


def _one_word(say: Speaker) -> str:
    """jazz, or of who plays alone the instrument"""
    if say.plan.ensemble == "solo":
        return say.name(say.players[0])
    return f"{say.mood()} music" if say.dice.chance(0.2) else say.genre()


def _tags(say: Speaker) -> str:
    """lo-fi, electric piano, calm, 80 bpm, no drums"""
    tags = [say.maybe(0.85, say.genre)]
    if say.dice.chance(0.75) or not tags[0]:
        tags += [say.name(part) for part in say.players[: say.dice.integer(1, 3)]]
        if say.plan.ensemble == "solo" and say.dice.chance(0.4):
            tags[-1] = f"solo {tags[-1]}"
    tags += [say.maybe(0.55, say.mood), say.maybe(0.2, say.tempo_word), say.maybe(0.4, say.bpm)]
    key = say.maybe(0.25, say.in_key)
    # Of a blues the letter alone would say nothing.
    tags += [key if say.plan.key.mode == "blues" else key.removeprefix("in "), say.no_drums_tag()]
    tags += ["instrumental"] if say.dice.chance(0.1) else []
    told = [tag for tag in tags if tag]
    return ", ".join(say.dice.shuffled(told) if say.dice.chance(0.5) else told)


def _phrase(say: Speaker) -> str:
    """a slow sad piano waltz in D minor, 84 bpm, with a tender melody"""
    adjectives, lead = say.adjectives(), say.maybe(0.7, say.attribute)
    if say.dice.chance(0.2):
        return f"{adjectives} {lead} {say.genre()} music {say.figures()} {say.tail()}"
    head = f"{adjectives} {lead} {say.head()}"
    return f"{_request(say)}{_with_article(say, head)} {say.figures()} {say.tail()}"


def _for_instruments(say: Speaker) -> str:
    """a happy jazz tune for saxophone, piano and bass"""
    alone = say.plan.ensemble == "solo"
    joint = say.dice.pick(("for", "with", "on") if alone else ("for", "with"))
    solo = "solo " if alone and say.dice.chance(0.5) else ""
    some = f"{joint} {solo}{say.names(say.some_players())}"
    if say.dice.chance(0.3):
        return f"{say.adjectives()} {say.genre()} music {some} {say.figures()} {say.no_drums()}"
    head = f"{say.adjectives()} {say.head()}"
    return f"{_request(say)}{_with_article(say, head)} {some} {say.figures()} {say.no_drums()}"


def _played(say: Speaker) -> str:
    """saxophone and piano playing slow jazz"""
    what = f"{say.adjectives()} {say.genre()}"
    if say.plan.ensemble == "solo":
        name = say.name(say.players[0])
        opening = say.dice.pick((f"solo {name}, {what}", f"{what} {name} solo", f"{name} alone, {what}"))
    else:
        opening = f"{say.names(say.some_players())} playing {what}"
    return f"{opening} {say.figures()} {say.no_drums()}"


def _together(say: Speaker) -> str:
    """a grand piano jazz trio with bass and drums"""
    kinds = _ENSEMBLES[say.plan.ensemble]
    if say.plan.ensemble == "band" and not say.plan.has_drums:
        kinds = _DRUMLESS_BANDS
    lead, *others = say.players
    # "a string trio" has three strings.
    named = lead.player.family not in words.ATTRIBUTES and lead.role != "bass"
    head = f"{say.adjectives()} {say.name(lead) if named else ''} {say.genre()} {say.dice.pick(kinds)}"
    if say.dice.chance(0.3):
        others = others[: say.dice.integer(1, len(others))]
    rest = f"with {say.names(others)}" if named or say.dice.chance(0.5) else ""
    return f"{_with_article(say, head)} {rest} {say.figures()} {say.no_drums()}"


def _request(say: Speaker) -> str:
    return say.maybe(0.05, lambda: say.dice.pick(_REQUESTS))


def _with_article(say: Speaker, head: str) -> str:
    """With an article, or none, or with how long the piece is."""
    length_s = say.plan.length_s
    if say.dice.chance(0.1) and length_s == int(length_s) > 1:
        if say.dice.chance(0.25):
            return f"{int(length_s)} seconds of {head}"
        head = f"{int(length_s)}-second {head}"
    elif say.dice.chance(0.25):
        return head
    return f"{words.article(head)} {head}"
