"""When to leave a store that fails alone, and when to try it again. Plain arithmetic; no clock of its own."""

from __future__ import annotations

import random
from collections.abc import Callable

FAILURES_TO_OPEN = 3
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 30.0


class Breaker:
    """Closed: calls go through. Open, after some failures in a row: none does, but for one trial at a time.

    A trial is due after a wait that doubles from one second to thirty while trials fail, each shortened at random by up
    to a half, so that replicas do not all try at once. clock: seconds, monotonic. jitter: in [0, 1).
    """

    def __init__(self, clock: Callable[[], float], jitter: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._jitter = jitter
        self._failures = 0
        self._wait_s = _FIRST_WAIT_S
        self._next_trial_s = 0.0
        self._on_trial = False

    @property
    def is_open(self) -> bool:
        return self._failures >= FAILURES_TO_OPEN

    def take_trial(self) -> bool:
        """Whether a trial is due. Whoever is told so makes it, and tells how it went or calls `drop_trial`."""
        if not self.is_open or self._on_trial or self._clock() < self._next_trial_s:
            return False
        self._on_trial = True
        return True

    def drop_trial(self) -> None:
        """The trial came to no result; the next who asks makes another."""
        self._on_trial = False

    def succeeded(self) -> None:
        self._failures = 0
        self._wait_s = _FIRST_WAIT_S
        self._on_trial = False

    def failed(self) -> None:
        was_open = self.is_open
        self._failures += 1
        # A call from before the breaker opened says nothing new when it fails now.
        if was_open and not self._on_trial:
            return
        if was_open:
            self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
        self._on_trial = False
        self._next_trial_s = self._clock() + self._wait_s * (1 - self._jitter() / 2)
