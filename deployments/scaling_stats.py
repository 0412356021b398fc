"""What replicas report for scaling: numbers under names, which Serve carries to the policy; and throughput meters.

A name that is not reported any more would keep its last number, so a replica reports all of its names every time.
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

ModelQueue = tuple[str, QueueClass]  # a model's name, a queue class


@dataclass(frozen=True)
class Targets:
    """What an operator aims at: a language model's `user_config`, which can be changed while it runs.

    Attributes:
        target_load: the share of an engine's slots, and of its throughput, that is to be in use. With 1, full slots are
            no reason for another replica, only long waits are.
        target_wait_s: how long work may wait for a slot.
    """

    target_load: float
    target_wait_s: float

    @classmethod
    def usual(cls, queue: QueueClass) -> Targets:
        """The realtime queue is nearly empty; batch work waits until a replica has enough to do."""
        return cls(1.0, 60.0) if queue == "batch" else cls(0.7, 1.0)

    @classmethod
    def read(cls, user_config: Mapping[str, Any]) -> Targets:
        """The targets of a `user_config`.

        Raises:
            ValueError: With what would be right.
        """
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
    """One language-model replica.

    Attributes:
        in_use, waiting: requests.
        waiting_audio_s: of those that wait.
        made_audio_s_per_s: throughput now.
        most_audio_s_per_s: the highest so far; 0: not known yet.
        memory_bytes: of the process.
    """

    slots: float
    in_use: float
    waiting: float
    waiting_audio_s: float
    made_audio_s_per_s: float
    most_audio_s_per_s: float
    memory_bytes: float

    def numbers(self, targets: Targets) -> dict[str, float]:
        """With the operator's targets."""
        return asdict(self) | asdict(targets)


def waiting_names(model_queue: ModelQueue) -> tuple[str, str]:
    """The names of the number of generations that no engine has, and of their audio-seconds."""
    model, queue = model_queue
    return f"waiting/{queue}/{model}", f"waiting_audio_s/{queue}/{model}"


def waiting_numbers(
    found: Mapping[ModelQueue, tuple[float, float]], model_queues: Iterable[ModelQueue]
) -> dict[str, float]:
    """What a replica reports of the generations that wait for an engine.

    Args:
        found: generations and their audio-seconds.
        model_queues: all that there may be.
    """
    numbers: dict[str, float] = {}
    for each in model_queues:
        numbers.update(zip(waiting_names(each), found.get(each, (0.0, 0.0)), strict=True))
    return numbers


# Over shorter intervals throughput varies too much.
_MIN_INTERVAL_S = 0.5


class ThroughputMeter:
    """What comes out in a second: now, and at most so far. Counted in one thread, read in another."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counted = 0.0
        self._read = (clock(), 0.0)
        self.now_per_s = 0.0
        self.peak_per_s = 0.0

    def count(self, amount: float) -> None:
        self._counted += amount

    def read(self) -> None:
        """Brings both figures up to date, unless that was done just before."""
        (then_s, before), now_s, counted = self._read, self._clock(), self._counted
        if now_s - then_s < _MIN_INTERVAL_S:
            return
        self._read = (now_s, counted)
        self.now_per_s = (counted - before) / (now_s - then_s)
        self.peak_per_s = max(self.peak_per_s, self.now_per_s)


class BusyThroughput:
    """What is done in a second of work, without idle time; a moving average. Used in one thread."""

    _WEIGHT = 0.1  # of each new piece in the average

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._amount = 0.0
        self._work_s = 0.0

    @contextmanager
    def timed(self, amount: float) -> Iterator[None]:
        """A piece of work; it counts once it is done."""
        began_s = self._clock()
        yield
        self._amount += self._WEIGHT * (amount - self._amount)
        self._work_s += self._WEIGHT * (self._clock() - began_s - self._work_s)

    @property
    def per_s(self) -> float:
        """0 before the first piece is done."""
        return self._amount / self._work_s if self._work_s > 0 else 0.0
