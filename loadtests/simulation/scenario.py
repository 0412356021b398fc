"""The two pools of a model, the fleets that are compared, and one run of them all on the same arrivals."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from loadtests.simulation.arrivals import BIN_S, DAY_S, Arrivals, Demand, draw
from loadtests.simulation.cloud import CloudSettings
from loadtests.simulation.deployment import ServeScaler, rays_default
from loadtests.simulation.engine import EngineCurve
from loadtests.simulation.pool import Outcome, PoolSettings, simulate
from loadtests.simulation.scaler import Scaler, fixed, ours
from serve_app.scaling.policy import Targets

REALTIME, BATCH = "realtime", "batch"
OURS, RAYS_DEFAULT = "ours", "Ray's default"
PEAK_S = 600.0  # a peak is the most that is requested over such a time


@dataclass(frozen=True)
class Scaling:
    """What an operator sets for a pool; the delays are Serve's."""

    targets: Targets
    upscale_delay_s: float
    downscale_delay_s: float
    min_replicas: int


@dataclass(frozen=True)
class Scenario:
    """realtime, batch: what is requested of each pool on average, in replicas all of whose slots are in use. steady: no
    days and no bursts. engine: what `curve` was made from. clouds: what each pool's nodes are. look_s, look_back_s: as
    `PoolSettings` has them.
    """

    seed: int
    days: float
    realtime: float
    batch: float
    steady: bool
    engine: str
    curve: EngineCurve
    slots: int
    clouds: dict[str, CloudSettings]
    scaling: dict[str, Scaling]
    look_s: float
    look_back_s: float

    @property
    def full_audio_s_per_s(self) -> float:
        return self.curve.audio_s_per_s(self.slots)

    @property
    def duration_s(self) -> float:
        return self.days * DAY_S

    def demand(self, pool: str) -> Demand:
        full = self.full_audio_s_per_s
        if pool == REALTIME:
            demand = Demand(self.realtime * full, (5, 10, 20, 30), daily=0.7, bursts_per_day=6, burst_factor=2)
        else:
            demand = Demand(
                self.batch * full, (30, 60, 120, 300), daily=0.5, bursts_per_day=2, burst_factor=3, batch=10
            )
        return replace(demand, daily=0, bursts_per_day=0) if self.steady else demand

    def arrivals(self, pool: str) -> Arrivals:
        return draw(self.demand(pool), self.duration_s, self._rng(pool, 0))

    def max_replicas(self, arrivals: Arrivals) -> int:
        """A bound that says that something is wrong, rather than one that saves."""
        return 2 * math.ceil(_peak(arrivals) / self.full_audio_s_per_s) + 8

    def fleets(self, pool: str, arrivals: Arrivals) -> Iterator[tuple[str, Scaler, int]]:
        """Name, who decides, and how many there are at first: fixed ones for the mean, for the peak, and in between."""
        scaling, most = self.scaling[pool], self.max_replicas(arrivals)
        needed = np.array([arrivals.rates.mean(), _peak(arrivals)]) / self.full_audio_s_per_s
        mean, peak = (math.ceil(each / scaling.targets.load) for each in needed)
        bounds = {"min_replicas": scaling.min_replicas, "max_replicas": most}
        delays = {
            "upscale_delay_s": scaling.upscale_delay_s,
            "downscale_delay_s": scaling.downscale_delay_s,
        }
        yield OURS, ServeScaler(ours(scaling.targets), {**bounds, **delays}), mean
        # With its own delays, and the same share of the slots.
        requests = scaling.targets.load * self.slots
        yield RAYS_DEFAULT, rays_default({**bounds, "target_ongoing_requests": requests}), mean
        for name, number in (("mean", mean), ("between", (mean + peak + 1) // 2), ("peak", peak)):
            yield f"fixed, {name}", fixed(number), number

    def run(self, pool: str, only: str | None = None) -> Iterator[tuple[str, Outcome]]:
        """Each fleet on the same arrivals, or `only` one of them."""
        arrivals = self.arrivals(pool)
        for name, scaler, initial in self.fleets(pool, arrivals):
            if only not in (None, name):
                continue
            settings = PoolSettings(
                curve=self.curve,
                slots=self.slots,
                cloud=self.clouds[pool],
                max_replicas=self.max_replicas(arrivals),
                initial=initial,
                look_s=self.look_s,
                look_back_s=self.look_back_s,
            )
            yield name, simulate(arrivals, settings, scaler, self.duration_s, self._rng(pool, 1))

    def _rng(self, pool: str, part: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, pool == BATCH, part])


def _peak(arrivals: Arrivals) -> float:
    """Audio-seconds a second."""
    bins = round(PEAK_S / BIN_S)
    if len(arrivals.rates) < bins:
        return float(arrivals.rates.max())
    return float(np.convolve(arrivals.rates, np.full(bins, 1 / bins), "valid").max())
