"""Whether clips differ from each other as the pieces that their prompts describe do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import spearmanr

from etude.evaluation.impression import Impression


@dataclass(frozen=True)
class Likeness:
    """Rank correlations with the described pieces: 1 for the same order, 0 for chance. None where nothing varies."""

    brightness: float | None
    onsets: float | None
    level: float | None

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def likeness(heard: Sequence[Impression], described: Sequence[Impression]) -> Likeness:
    """Both in the order of the prompts."""
    return Likeness(
        brightness=_rank([each.brightness for each in heard], [each.brightness for each in described]),
        onsets=_rank([each.onsets_per_second for each in heard], [each.onsets_per_second for each in described]),
        level=_rank([each.level_db for each in heard], [each.level_db for each in described]),
    )


def _rank(one: Sequence[float], other: Sequence[float]) -> float | None:
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(spearmanr(one, other).statistic)
