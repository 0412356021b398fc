"""The text states of the prompts that were asked for last."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import numpy as np

MAX_BYTES = 64 * 2**20  # some 1,500 prompts of a sentence at T5-base's width


class RecentStates:
    """Least recently asked for, first to go. Under the prompt's hash: no prompt is kept longer than it is worked on.

    max_bytes: that all states together may have. Not thread-safe.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._states: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._num_bytes = 0

    def get(self, prompt: str) -> np.ndarray | None:
        """The states [S, D] kept for the prompt, from now on the most recent ones; None where there are none."""
        key = _key(prompt)
        if key not in self._states:
            return None
        self._states.move_to_end(key)
        return self._states[key]

    def keep(self, prompt: str, states: np.ndarray) -> None:
        """Keeps the prompt's states, read-only, and lets go of the oldest beyond the limit."""
        key = _key(prompt)
        states.flags.writeable = False
        replaced = self._states.pop(key, None)
        self._num_bytes += states.nbytes - (0 if replaced is None else replaced.nbytes)
        self._states[key] = states
        while self._num_bytes > self._max_bytes:
            _, oldest = self._states.popitem(last=False)
            self._num_bytes -= oldest.nbytes

    def check_integrity(self) -> None:
        """Raises: AssertionError when the account of bytes is wrong, or above the limit."""
        assert self._num_bytes == sum(states.nbytes for states in self._states.values()), "bytes are miscounted"
        assert self._num_bytes <= self._max_bytes, f"{self._num_bytes} bytes are kept, {self._max_bytes} may be"


def _key(prompt: str) -> bytes:
    return hashlib.sha256(prompt.encode()).digest()
