"""How a key stands with one of its limits, and how the answer's headers say so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Standing:
    """name: of the limit, as the settings have it. limit, remaining: requests or seconds of music, as the name says.
    reset_s: until there is more; 0 where all is there.
    """

    name: str
    limit: int
    remaining: int
    reset_s: float

    def headers(self) -> dict[str, str]:
        """The usual ones, and one that says which limit they are about."""
        return {
            "X-RateLimit-Policy": self.name,
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(math.ceil(self.reset_s)),
        }


def headers(standings: Sequence[Standing]) -> dict[str, str]:
    """Of the limit that is nearest to its end, by the share that remains; none where there is no limit."""
    if not standings:
        return {}
    return min(standings, key=lambda each: each.remaining / each.limit).headers()
