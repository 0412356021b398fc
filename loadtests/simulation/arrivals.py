"""Days of arrivals: a daily profile, bursts upon it, work that comes one by one or in batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadtests.simulation.advance import Floats

DAY_S = 86400.0
BIN_S = 10.0
PEAK_HOUR = 16.0


@dataclass(frozen=True)
class Demand:
    """audio_s_per_s: requested, on average without bursts. daily: by how much of it the day swings, 0 to 1. A burst
    multiplies what comes, for about burst_s. lengths_s: of clips, equally likely. batch: how many come at once, on
    average.
    """

    audio_s_per_s: float
    lengths_s: tuple[float, ...]
    daily: float = 0.0
    bursts_per_day: float = 0.0
    burst_factor: float = 1.0
    burst_s: float = 600.0
    batch: float = 1.0


@dataclass(frozen=True)
class Arrivals:
    """arrives_s, audio_s: of each generation, in order. rates: audio-seconds requested a second, in bins of BIN_S."""

    arrives_s: Floats
    audio_s: Floats
    rates: Floats


def draw(demand: Demand, duration_s: float, rng: np.random.Generator) -> Arrivals:
    """A Poisson process whose rate is constant within a bin; batches have geometric sizes."""
    starts_s = np.arange(0, duration_s, BIN_S)
    hours = starts_s / 3600
    factors = 1 + demand.daily * np.cos(2 * np.pi * (hours - PEAK_HOUR) / 24)
    for begin_s in rng.uniform(0, duration_s, rng.poisson(demand.bursts_per_day * duration_s / DAY_S)):
        length_s = rng.exponential(demand.burst_s)
        factors[(starts_s >= begin_s) & (starts_s < begin_s + length_s)] *= demand.burst_factor
    rates = demand.audio_s_per_s * factors
    num_batches = rng.poisson(rates * BIN_S / (np.mean(demand.lengths_s) * demand.batch))
    batches_s = np.sort(np.repeat(starts_s, num_batches) + rng.uniform(0, BIN_S, num_batches.sum()))
    arrives_s = np.repeat(batches_s, rng.geometric(1 / demand.batch, len(batches_s)))
    arrives_s = arrives_s[arrives_s < duration_s]
    return Arrivals(arrives_s, rng.choice(np.array(demand.lengths_s), len(arrives_s)), rates)
