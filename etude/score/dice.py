"""Chance that repeats: a stream of draws for every purpose of every seed."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """Draws that depend on the seed and the purpose alone, so that a new draw for the drums leaves the melody be.

    Everything is made of `random.Random.random()`, the one method whose stream Python promises to keep, and of exact
    arithmetic: no draw differs between machines.
    """

    def __init__(self, seed: int, purpose: str) -> None:
        self._random = random.Random(f"{seed}/{purpose}").random  # noqa: S311 - music, not secrets

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self._random()

    def integer(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return low + int(self._random() * (high - low + 1))

    def normal(self, std: float) -> float:
        """Three uniform draws: near enough to normal, and never beyond three standard deviations."""
        return std * 2 * (self._random() + self._random() + self._random() - 1.5)

    def pick(self, things: Sequence[T]) -> T:
        return things[int(self._random() * len(things))]

    def weighted(self, weights: Mapping[T, float]) -> T:
        """Each as often as its weight, above 0, has it."""
        bounds = list(accumulate(weights.values()))
        place = bisect_right(bounds, self._random() * bounds[-1])
        return list(weights)[min(place, len(bounds) - 1)]

    def shuffled(self, things: Sequence[T]) -> list[T]:
        pool = list(things)
        return [pool.pop(int(self._random() * len(pool))) for _ in things]
