"""What replicas report for scaling: numbers under names, which Serve carries to the policy.

A name that is not there any more would keep its last number, so whoever reports gives all of its names every time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
