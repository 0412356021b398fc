"""Whether anything plays: clips that are silent, clipped, or one frame for ever; and whether seeds differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from etude.evaluation.impression import Impression

Codes = NDArray[np.int16]

_SILENT_DB = -60.0
_CLIPPED_SHARE = 0.001

# A clip has collapsed where most of its frames repeat the frame before in every codebook.
_COLLAPSED_SHARE = 0.5

# Two clips are the same where most of their first codebook's codes are.
_SAME_SHARE = 0.5


@dataclass(frozen=True)
class Liveliness:
    """How many clips of how many. level_db: the mean."""

    clips: int
    silent: int
    clipped: int
    collapsed: int
    level_db: float

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def liveliness(heard: Sequence[Impression], codes: Sequence[Codes]) -> Liveliness:
    """codes: [K, T] of each clip."""
    return Liveliness(
        clips=len(heard),
        silent=sum(each.level_db < _SILENT_DB for each in heard),
        clipped=sum(each.clipped > _CLIPPED_SHARE for each in heard),
        collapsed=sum(repeated_share(each) > _COLLAPSED_SHARE for each in codes),
        level_db=float(np.mean([each.level_db for each in heard])),
    )


def repeated_share(codes: Codes) -> float:
    """The share of frames that are the frame before once more."""
    return float((codes[:, 1:] == codes[:, :-1]).all(axis=0).mean())


def differ(one: Codes, other: Codes) -> bool:
    """Whether two clips of the same length are different."""
    return float((one[0] == other[0]).mean()) < _SAME_SHARE
