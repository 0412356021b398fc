"""Says a plan's facts one at a time, and remembers which it has said."""

from __future__ import annotations

from collections.abc import Callable

from etude.score import words
from etude.score.dice import Dice
from etude.score.genre import Genre
from etude.score.moods import MOODS
from etude.score.plan import Part, Plan

_NO_DRUMS = ("no drums", "without drums")
_MANNERS = {"fade out": ("that fades out", "fading out at the end"), "cadence": ("with a final chord",)}


class Speaker:
    """What is said is a phrase, or nothing where the plan has no such fact.

    says_tempo, says_key, says_no_drums: whether it has; families: of the instruments it has named.
    """

    def __init__(self, plan: Plan, dice: Dice) -> None:
        self.plan, self.dice = plan, dice
        self.says_tempo = self.says_key = self.says_no_drums = False
        self._families: dict[str, None] = {}

    @property
    def families(self) -> tuple[str, ...]:
        return tuple(self._families)

    @property
    def players(self) -> list[Part]:
        """A part for each instrument, the melody's first."""
        return list({part.instrument: part for part in reversed(self.plan.parts)}.values())[::-1]

    def some_players(self) -> list[Part]:
        players = self.players
        return players if self.dice.chance(0.6) else players[: self.dice.integer(1, len(players))]

    def maybe(self, probability: float, say: Callable[[], str]) -> str:
        return say() if self.dice.chance(probability) else ""

    def name(self, part: Part) -> str:
        self._families[part.player.family] = None
        return self._of(words.part_words(part))

    def names(self, parts: list[Part]) -> str:
        *first, last = [self.name(part) for part in parts]
        return f"{', '.join(first)} and {last}" if first else last

    def attribute(self) -> str:
        """The lead's name before a noun."""
        lead = self.players[0]
        if lead.player.family not in words.ATTRIBUTES:
            return self.name(lead)
        self._families[lead.player.family] = None
        return words.ATTRIBUTES[lead.player.family]

    def genre(self) -> str:
        return self._of(self._genre.words)

    def head(self) -> str:
        """The genre, and what a piece of it is called."""
        if self.plan.genre in words.NAMED_LIKE_PIECES and self.dice.chance(0.6):
            return self.genre()
        return f"{self.genre()} {self.dice.pick(words.nouns(self.plan))}"

    def mood(self) -> str:
        return self.dice.pick(MOODS[self.plan.mood].words)

    def tempo_word(self) -> str:
        fitting = words.tempo_words(self.plan)
        return self.dice.pick(fitting) if fitting else ""

    def adjectives(self) -> str:
        return f"{self.maybe(0.3, self.tempo_word)} {self.maybe(0.55, self.mood)}"

    def bpm(self) -> str:
        if not self.plan.has_pulse:
            return ""
        self.says_tempo = True
        return f"{self.plan.tempo_bpm} {'bpm' if self.dice.chance(0.85) else 'beats per minute'}"

    def key(self) -> str:
        if not self.plan.is_pitched:
            return ""
        self.says_key = True
        return self.dice.pick(words.key_words(self.plan))

    def in_key(self) -> str:
        key = self.key()
        return key and f"{'in' if self.dice.chance(0.8) else 'in the key of'} {key}"

    def figures(self) -> str:
        """Key and tempo, in either order, or one of them, or none."""
        key, bpm = self.maybe(0.28, self.in_key), self.maybe(0.4, self.bpm)
        if bpm:
            bpm = self.dice.pick((f"at {bpm}", f"at {bpm}", f"at a tempo of {bpm}", f", {bpm}"))
        return f"{key} {bpm}" if self.dice.chance(0.6) else f"{bpm} {key}"

    def tail(self) -> str:
        """How it goes, or what it hasn't."""
        features = words.features(self.plan)
        if features and self.dice.chance(0.4):
            feature = self.dice.pick(features)
            if feature.names_instrument:
                self._families[feature.part.player.family] = None
            others = [part for part in self.players if part.instrument != feature.part.instrument]
            more = f" and {self.name(self.dice.pick(others))}" if others and self.dice.chance(0.35) else ""
            return f"with {feature.text}{more} {self.no_drums()}"
        if self.plan.ending in _MANNERS and self.dice.chance(0.12):
            return self.dice.pick(_MANNERS[self.plan.ending])
        if self.plan.opening == "building" and self.dice.chance(0.4):
            return self.dice.pick(("that builds up", ", slowly building up"))
        return self.no_drums()

    def no_drums(self) -> str:
        """After something, with a comma where it needs one."""
        said = self.no_drums_tag()
        return f", {said}" if said == _NO_DRUMS[0] else said

    def no_drums_tag(self) -> str:
        """Said more often where drums would be expected."""
        if self.plan.has_drums or not self.dice.chance(0.3 if self._genre.kits else 0.08):
            return ""
        self.says_no_drums = True
        return self.dice.pick(_NO_DRUMS)

    def _of(self, words_for_it: tuple[str, ...]) -> str:
        """The plainest word more often than the others together."""
        plainest, *rest = words_for_it
        return self.dice.pick(rest) if rest and self.dice.chance(0.45) else plainest

    @property
    def _genre(self) -> Genre:
        genre = self.plan.style
        if genre is None:
            raise ValueError("an exercise has no genre to speak of")
        return genre
