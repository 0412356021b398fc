"""How a piece is divided: bars, phrases, a final chord."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_PHRASE_BARS = 4


@dataclass(frozen=True)
class Form:
    """phrases: how many bars each has, one to four. has_final_chord: whether a bar of one chord follows them."""

    phrases: tuple[int, ...]
    beats_per_bar: int
    has_final_chord: bool

    @classmethod
    def of(cls, num_bars: int, beats_per_bar: int, *, has_final_chord: bool) -> Form:
        """Phrases of four bars, and shorter ones at the end, but none of one bar if it can be helped."""
        phrases = [_PHRASE_BARS] * (num_bars // _PHRASE_BARS)
        rest = num_bars % _PHRASE_BARS
        if rest == 1 and phrases:
            phrases[-1:] = [3, 2]
        elif rest:
            phrases.append(rest)
        return cls(tuple(phrases), beats_per_bar, has_final_chord)

    @property
    def num_bars(self) -> int:
        """Without the final chord's."""
        return sum(self.phrases)

    @property
    def final_beat(self) -> int:
        """Where the last phrase ends and the final chord begins."""
        return self.num_bars * self.beats_per_bar

    def bars(self) -> Iterator[tuple[int, int, int]]:
        """For every bar its number in the piece, its place in its phrase, and how many bars the phrase has."""
        bar = 0
        for num_bars in self.phrases:
            for place in range(num_bars):
                yield bar, place, num_bars
                bar += 1

    def phrase_of(self, bar: int) -> int:
        """The number of the phrase that a bar belongs to; the final chord's bar counts to the last."""
        for phrase, num_bars in enumerate(self.phrases):
            bar -= num_bars
            if bar < 0:
                return phrase
        return len(self.phrases) - 1
