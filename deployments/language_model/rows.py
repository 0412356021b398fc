"""The rows of one step.

A row is one (slot, branch, position): decoding is one position a slot, prefill many, through the same code, so that
a resumed generation computes the very same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_TEXT_TOKENS = 2048  # of a prompt; compiled steps set memory aside for this many


@dataclass(frozen=True)
class Place:
    """One position of one slot: its branches are rows `row` … `row + num_branches - 1` of the batch."""

    slot: int
    position: int
    row: int
    num_branches: int


@dataclass(frozen=True)
class Rows:
    """tokens: int64 [M, K]; slots, branches (0 has the text, 1 has none), positions: int64 [M]."""

    tokens: np.ndarray
    slots: np.ndarray
    branches: np.ndarray
    positions: np.ndarray
    places: Sequence[Place]

    def __len__(self) -> int:
        return len(self.tokens)
