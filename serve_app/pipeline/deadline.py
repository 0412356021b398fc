"""How long a generation may take, once it has a slot."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Deadline:
    """factor: of the music's own duration. floor_s: but never less."""

    factor: float = 2.0
    floor_s: float = 60.0

    def seconds(self, duration_s: float) -> float:
        return max(self.floor_s, self.factor * duration_s)
