"""How many users there are and when, and when each sends its next request."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

SHAPES = ("steps", "spike", "soak")


@dataclass(frozen=True)
class Phase:
    """So many users for so long. number: from 0."""

    number: int
    users: int
    from_s: float
    until_s: float


@dataclass(frozen=True)
class Shape:
    """Phases, one after the other; the first begins at 0 s."""

    phases: Sequence[Phase]

    @property
    def duration_s(self) -> float:
        return self.phases[-1].until_s

    @property
    def max_users(self) -> int:
        return max(phase.users for phase in self.phases)

    def at(self, moment_s: float) -> Phase | None:
        """The phase at a moment; None when all are over."""
        return next((phase for phase in self.phases if moment_s < phase.until_s), None)


def shape(kind: str, levels: Sequence[int], hold_s: float) -> Shape:
    """One of SHAPES.

    steps: each of the levels in turn. spike: the first level, the second, and the first again. soak: the one level.
    levels: users. hold_s: how long each is held. Raises: ValueError for levels that don't fit, with those that would.
    """
    if not levels or min(levels) < 1:
        raise ValueError("the levels must be numbers of users, from 1")
    if kind == "spike":
        if len(levels) != 2 or levels[0] >= levels[1]:
            raise ValueError("a spike has two levels: the users before and after it, and the more in it")
        levels = (levels[0], levels[1], levels[0])
    if kind == "soak" and len(levels) != 1:
        raise ValueError("a soak has one level")
    ends_s = list(accumulate([hold_s] * len(levels)))
    return Shape(tuple(Phase(i, users, ends_s[i] - hold_s, ends_s[i]) for i, users in enumerate(levels)))


class Pace:
    """Moments at random, `mean_s` apart on average (a Poisson process), whatever an answer takes.

    A user who is late sends the next request at once and does not catch up: a service that cannot keep up gets fewer.
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
