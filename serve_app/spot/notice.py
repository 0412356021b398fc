"""What a cloud says about the end of the instance that asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Kind(str, Enum):
    """REBALANCE: an interruption has become likely; nothing is decided. UNKNOWN: an end of a kind new to us."""

    TERMINATE = "terminate"
    STOP = "stop"
    HIBERNATE = "hibernate"
    PREEMPT = "preempt"
    REBALANCE = "rebalance"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Notice:
    """remaining_s: from the reading on, by the clock of whoever gave the notice; None where it doesn't say.

    said: the time of the end as it was given, whereby a notice is told from the next one.
    """

    kind: Kind
    said: str = ""
    remaining_s: float | None = None

    @property
    def identity(self) -> tuple[Kind, str]:
        """The same for each reading of one notice."""
        return self.kind, self.said


class Cloud(Protocol):
    """One cloud's way to tell. window_s: how long before the end it does. poll_s: how often to ask."""

    window_s: float
    poll_s: float

    async def notices(self) -> Sequence[Notice]:
        """Those that stand. Raises: MetadataError when nothing can be learnt now."""
