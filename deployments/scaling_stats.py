"""What replicas report for scaling: numbers under names, which Serve carries to the policy.

A name that is not there any more would keep its last number, so whoever reports gives all of its names every time.

How fast something works, for whoever decides how many of it there have to be.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any

from deployments.messages import QueueClass

# A codec decoder's audio-seconds, or a text encoder's prompts, in a second of work; 0: not known yet.
EACH_PER_S = "each_per_s"

Place = tuple[str, QueueClass]  # a model's name, a queue class


@dataclass(frozen=True)
class Targets:
    """target_load: the part of an engine's slots, and of its speed, that is to be in use. With 1, full slots are no
    reason for another replica: only who waits too long is. target_wait_s: how long work may wait for a slot.

    They are a language model's `user_config`, so that they can be changed while it works.
    """

    target_load: float
    target_wait_s: float

    @classmethod
    def usual(cls, queue: QueueClass) -> Targets:
        """Real time's queue is nearly empty; batch waits until a replica has enough to do."""
        return cls(1.0, 60.0) if queue == "batch" else cls(0.7, 1.0)

    @classmethod
    def read(cls, user_config: Mapping[str, Any]) -> Targets:
        """Raises: ValueError, with what would be right."""
        names = [each.name for each in fields(cls)]
        if sorted(user_config) != sorted(names):
            raise ValueError(f"a language model's user_config is a mapping of {' and '.join(names)}")
        values = [user_config[name] for name in names]
        if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
            raise ValueError(f"{' and '.join(names)} are numbers")
        targets = cls(*map(float, values))
        if not 0 < targets.target_load <= 1:
            raise ValueError("target_load is more than 0 and at most 1")
        if not 0 < targets.target_wait_s <= 86_400:
            raise ValueError("target_wait_s is more than 0 and at most 86400 (a day)")
        return targets

    def user_config(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True)
class EngineStats:
    """One language-model replica. in_use, waiting: generations; waiting_audio_s: asked by those that wait.
    made_audio_s_per_s: now; most_audio_s_per_s: when it was the most; 0: not known yet. memory_bytes: of the process.
    """

    slots: float
    in_use: float
    waiting: float
    waiting_audio_s: float
    made_audio_s_per_s: float
    most_audio_s_per_s: float
    memory_bytes: float

    def numbers(self, targets: Targets) -> dict[str, float]:
        """With what its operator aims at."""
        return asdict(self) | asdict(targets)


def waiting_names(place: Place) -> tuple[str, str]:
    """Under which generations are reported that no engine has, and the audio-seconds that are asked of them."""
    model, queue = place
    return f"waiting/{queue}/{model}", f"waiting_audio_s/{queue}/{model}"


def waiting_numbers(found: Mapping[Place, tuple[float, float]], places: Iterable[Place]) -> dict[str, float]:
    """found: generations and their audio-seconds. places: all that there may be."""
    numbers: dict[str, float] = {}
    for place in places:
        numbers.update(zip(waiting_names(place), found.get(place, (0.0, 0.0)), strict=True))
    return numbers


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
