"""Work that no engine has taken in yet: in a pipeline, or in the records as jobs that nobody has begun."""

from __future__ import annotations

from dataclasses import dataclass

FRAME_RATE = 50


@dataclass(frozen=True)
class Waiting:
    """Generations, and the frames asked of them together."""

    generations: int
    frames: int

    @property
    def audio_s(self) -> float:
        """Of music."""
        return self.frames / FRAME_RATE

    def __add__(self, other: Waiting) -> Waiting:
        return Waiting(self.generations + other.generations, self.frames + other.frames)


NOTHING_WAITS = Waiting(0, 0)
