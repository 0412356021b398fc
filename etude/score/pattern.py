"""One bar of rhythm, written as a row of characters that divide it evenly.

A dot is a rest, a dash holds what came before, and any other character begins something: "x-x-x---" in 4/4 is two
quarters and a half note.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Step:
    """symbol: the character that begins it. start_beat: from the bar's beginning."""

    symbol: str
    start_beat: float
    num_beats: float


@cache
def read(pattern: str, beats: int) -> tuple[Step, ...]:
    """The steps of a bar of that many beats. Raises ValueError where a dash has nothing to hold."""
    grid = beats / len(pattern)
    steps: list[Step] = []
    resting = True
    for place, symbol in enumerate(pattern):
        if symbol == "-":
            if resting:
                raise ValueError(f"{pattern!r} holds nothing at {place}")
            last = steps.pop()
            steps.append(Step(last.symbol, last.start_beat, last.num_beats + grid))
        elif symbol != ".":
            steps.append(Step(symbol, place * grid, grid))
        resting = symbol == "."
    return tuple(steps)
