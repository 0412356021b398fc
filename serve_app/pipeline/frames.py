"""The codes of a generation under way: they only grow, and what has been handed out never moves."""

from __future__ import annotations

import numpy as np

from deployments.messages import CodeFrames

_FIRST_CAPACITY = 512


class Frames:
    """codes: int16 [K, n], to begin with."""

    def __init__(self, codes: np.ndarray | None = None) -> None:
        self.number = 0
        self._buffer: np.ndarray | None = None
        if codes is not None:
            self._extend(codes)

    def append(self, new: CodeFrames) -> None:
        """Raises: ValueError for frames that aren't the next ones: none is taken twice and none is left out."""
        if new.first_frame != self.number:
            raise ValueError(f"frame {new.first_frame} came where frame {self.number} is next")
        self._extend(new.codes)

    def some(self, start: int, end: int) -> np.ndarray:
        """int16 [K, n], from frame `start` to before `end`, as far as they are there; read-only."""
        end = min(end, self.number)
        if self._buffer is None:
            return np.zeros((0, 0), np.int16)
        view = self._buffer[:, start : max(start, end)]
        view.flags.writeable = False
        return view

    def all(self) -> np.ndarray:
        """int16 [K, number]; read-only."""
        return self.some(0, self.number)

    def _extend(self, codes: np.ndarray) -> None:
        number = self.number + codes.shape[1]
        if self._buffer is None or number > self._buffer.shape[1]:
            buffer = np.zeros((codes.shape[0], max(_FIRST_CAPACITY, 2 * number)), np.int16)
            if self._buffer is not None:
                buffer[:, : self.number] = self.all()
            self._buffer = buffer
        self._buffer[:, self.number : number] = codes
        self.number = number
