"""The least of many numbers that change: a tournament, in an array whose second half are the numbers."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Tournament = NDArray[np.float64]


def tournament(size: int) -> Tournament:
    """All numbers infinite. The least of them is at index 1."""
    leaves = 1 << max(size - 1, 1).bit_length()
    return np.full(2 * leaves, np.inf)


def _put(tree: Tournament, index: int, number: float) -> None:
    i = len(tree) // 2 + index
    tree[i] = number
    while i > 1:
        i //= 2
        tree[i] = min(tree[2 * i], tree[2 * i + 1])


def _first(tree: Tournament) -> int:
    i = 1
    while i < len(tree) // 2:
        i = 2 * i if tree[2 * i] == tree[i] else 2 * i + 1
    return i - len(tree) // 2


# Called rather than used as decorators, which would take the types away.
put = njit(cache=True, error_model="numpy")(_put)
first = njit(cache=True, error_model="numpy")(_first)  # the index of the least number, the first of several
