"""Clips that are made as jobs while spot nodes are lost, and again afterwards as the reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from loadtests.demo.clip import SCENES

LANES = 10
# Longer than it takes until a drained worker has its successor: one that is drained is given nothing new.
_DURATION_MS = 20_000
_NAME_DIGITS = 16
# Of a clip; what is told follows what is made by a second or two.
_SURELY_BEING_MADE = 0.75


@dataclass(frozen=True)
class Reference:
    """number: from 1; no two have the same. Of LANES lanes each has one under way."""

    number: int
    prompt: str
    seed: int
    duration_ms: int

    @classmethod
    def numbered(cls, number: int) -> Reference:
        return cls(number, SCENES[number % len(SCENES)], number, _DURATION_MS)

    @property
    def lane(self) -> int:
        """From 1."""
        return (self.number - 1) % LANES + 1

    @property
    def body(self) -> Mapping[str, object]:
        """A job for spot nodes, which neither takes from the cache nor leaves anything there."""
        return {
            "prompt": self.prompt,
            "seed": self.seed,
            "music_length_ms": self.duration_ms,
            "queue": "batch",
            "cache": "off",
        }


@dataclass
class JobRun:
    """One job that makes a reference clip. Times are seconds since the demonstration began; ended_s: None till then.

    generation: the first digits of its name, as logs have them. times_s, progress: when which part of it
    was made, from 0 to 1. lost_s, lost_at: when it lost a worker, and at which frame. error: why there is no clip.
    """

    reference: Reference
    began_s: float
    ended_s: float | None = None
    generation: str | None = None
    times_s: list[float] = field(default_factory=list)
    progress: list[float] = field(default_factory=list)
    lost_s: list[float] = field(default_factory=list)
    lost_at: list[int] = field(default_factory=list)
    size_bytes: int = 0
    sha256: str = ""
    error: str | None = None

    @property
    def is_being_made(self) -> bool:
        """Begun, and with much left to do."""
        return self.ended_s is None and bool(self.progress) and 0 < self.progress[-1] < _SURELY_BEING_MADE

    def update(self, told: Mapping[str, object], now_s: float) -> None:
        """told: the job, as the API has it."""
        progress = told["progress"]
        assert isinstance(progress, float | int)
        if not self.progress or progress > self.progress[-1]:
            self.times_s.append(now_s)
            self.progress.append(float(progress))
        variations = told["variations"]
        assert isinstance(variations, list)
        name = variations[0]["music_id"]
        if name is not None:
            self.generation = str(name)[:_NAME_DIGITS]

    def pause_s(self, moment_s: float) -> float:
        """For how long nothing came of it, at this moment; 0 where none of it was made by then, or all."""
        made = [each for each, progress in zip(self.times_s, self.progress, strict=True) if progress > 0]
        before = [each for each in made if each <= moment_s]
        after = [each for each in made if each > moment_s]
        return after[0] - before[-1] if before and after else 0.0
