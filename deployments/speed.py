"""How fast something works, for whoever decides how many of it there have to be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Shorter intervals say more of the moment than of the speed.
_MIN_S = 0.5


class Speedometer:
    """What comes out in a second: now, and when it was the most. Counted in one thread, read in another."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counted = 0.0
        self._read = (clock(), 0.0)
        self.now_per_s = 0.0
        self.most_per_s = 0.0

    def count(self, amount: float) -> None:
        self._counted += amount

    def read(self) -> None:
        """Brings both figures up to date, unless that was done just before."""
        (then_s, before), now_s, counted = self._read, self._clock(), self._counted
        if now_s - then_s < _MIN_S:
            return
        self._read = (now_s, counted)
        self.now_per_s = (counted - before) / (now_s - then_s)
        self.most_per_s = max(self.most_per_s, self.now_per_s)


class WorkingSpeed:
    """What is done in a second of work, idle time left out; the last of it counts most. Used in one thread."""

    _LAST = 0.1  # the weight of each new piece

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._amount = 0.0
        self._work_s = 0.0

    @contextmanager
    def timed(self, amount: float) -> Iterator[None]:
        """A piece of work; it counts once it is done."""
        began_s = self._clock()
        yield
        self._amount += self._LAST * (amount - self._amount)
        self._work_s += self._LAST * (self._clock() - began_s - self._work_s)

    @property
    def per_s(self) -> float:
        """0 before the first piece is done."""
        return self._amount / self._work_s if self._work_s > 0 else 0.0
