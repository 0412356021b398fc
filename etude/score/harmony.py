"""Which chord sounds when."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from etude.score.chord import Chord
from etude.score.key import Key


@dataclass(frozen=True)
class Span:
    """A chord, from one beat to another."""

    start_beat: float
    end_beat: float
    chord: Chord


@dataclass(frozen=True)
class Harmony:
    """Spans that follow each other without a gap, from beat 0. The same chord twice is two spans."""

    spans: tuple[Span, ...]

    @classmethod
    def lay_out(cls, bars: list[str], key: Key, beats_per_bar: int) -> Harmony:
        """bars: for each its chord, or several with | between, which share the bar evenly."""
        spans = []
        for bar, written in enumerate(bars):
            symbols = written.split("|")
            share = beats_per_bar / len(symbols)
            for place, symbol in enumerate(symbols):
                start = bar * beats_per_bar + place * share
                spans.append(Span(start, start + share, Chord.read(symbol, key)))
        return cls(tuple(spans))

    def __iter__(self) -> Iterator[Span]:
        return iter(self.spans)

    def at(self, beat: float) -> Span:
        """The span that a beat falls in; past the end, the last one."""
        return self.spans[max(0, bisect_right(self.spans, beat, key=lambda span: span.start_beat) - 1)]

    def after(self, beat: float) -> Span:
        """The span that follows the one a beat falls in; at the end, the last one."""
        return self.at(self.at(beat).end_beat)
