"""How long a variation that could not be made waits for its next attempt."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from serve_app.jobs.settings import JobsSettings

# Where no place is free, or no worker: the job has done nothing wrong, and stands aside for a moment.
_ASIDE_S = 1.0


@dataclass(frozen=True)
class Retries:
    """jitter: in [0, 1), so that what failed together does not come back together."""

    settings: JobsSettings
    jitter: Callable[[], float] = random.random

    def is_over(self, attempts: int) -> bool:
        """Whether there are no more."""
        return attempts >= self.settings.max_attempts

    def after_failure_s(self, attempts: int) -> float:
        """Doubled with every attempt, within bounds, and then somewhere between half of it and all."""
        whole_s = min(self.settings.backoff_s * 2.0 ** (attempts - 1), self.settings.max_backoff_s)
        return whole_s * (1 + self.jitter()) / 2

    def aside_s(self, retry_after_s: float | None) -> float:
        """As long as was asked for, or a moment."""
        return (retry_after_s or _ASIDE_S) * (1 + self.jitter()) / 2
