"""When a user asks again."""

from __future__ import annotations

import random


class Pace:
    """Moments at random, `mean_s` apart on average (a Poisson process), whatever an answer takes.

    A user who is late asks at once, and does not catch up: of a service that can't keep up, less is asked.
    """

    def __init__(self, chance: random.Random, mean_s: float, now_s: float) -> None:
        self._chance = chance
        self._mean_s = mean_s
        self._due_s = now_s

    def wait_s(self, now_s: float) -> float:
        """From now to the next moment."""
        self._due_s = max(self._due_s + self._chance.expovariate(1 / self._mean_s), now_s)
        return self._due_s - now_s

    def put_off(self, until_s: float) -> None:
        """The next moment is then, or later."""
        self._due_s = max(self._due_s, until_s)
