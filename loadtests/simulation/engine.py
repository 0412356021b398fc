"""How fast an engine is with some of its slots in use: a step has a fixed cost and one for each generation.

The fixed cost is what reading the weights takes, the other the arithmetic of a row and the reading of its keys and
values. On points that `loadtests.measuring.curves` measured both are fitted; for hardware that was not measured the form is kept
and its two numbers follow from two assumptions: what a full engine makes, and how much batching gains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from loadtests.measuring.curve import Point
from loadtests.measuring.requests import FRAME_RATE
from loadtests.simulation.advance import Floats


@dataclass(frozen=True)
class EngineCurve:
    """A step of n generations takes fixed_s + n · each_s, and makes one frame of each."""

    fixed_s: float
    each_s: float

    @classmethod
    def fit(cls, points: Sequence[Point]) -> EngineCurve:
        """Least squares of the relative errors of the steps' times; neither part is negative."""
        requests = np.array([point.requests for point in points], float)
        steps_s = requests / (FRAME_RATE * np.array([point.audio_s_per_s for point in points]))
        parts, _ = nnls(np.stack([np.ones_like(requests), requests], axis=1) / steps_s[:, None], np.ones_like(requests))
        return cls(float(parts[0]), float(parts[1]))

    @classmethod
    def assumed(cls, slots: int, full_audio_s_per_s: float, gain: float) -> EngineCurve:
        """full_audio_s_per_s: made with all slots in use. gain: how many times what one generation alone makes of it.

        Raises: ValueError for a gain that this form has not: it is from 1 to the number of slots.
        """
        if not 1 <= gain <= slots:
            raise ValueError(f"batching {slots} generations gains from 1 to {slots}")
        step_s = slots / (FRAME_RATE * full_audio_s_per_s)
        alone_s = step_s * gain / slots
        each_s = (step_s - alone_s) / (slots - 1) if slots > 1 else 0.0
        return cls(alone_s - each_s, each_s)

    def audio_s_per_s(self, generations: int) -> float:
        return generations / (FRAME_RATE * (self.fixed_s + generations * self.each_s)) if generations else 0.0

    def paces(self, slots: int) -> Floats:
        """Audio-seconds a second of each, for 0, 1, … slots of them."""
        return np.array([0.0, *(self.audio_s_per_s(n) / n for n in range(1, slots + 1))])

    def worst_error(self, points: Sequence[Point]) -> float:
        """Of its speed at those points, relative."""
        return max(abs(self.audio_s_per_s(point.requests) / point.audio_s_per_s - 1) for point in points)
