"""A pool through its arrivals: engines, nodes, and a scaler that looks at it now and then."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from loadtests.simulation.advance import Floats
from loadtests.simulation.arrivals import Arrivals
from loadtests.simulation.cloud import Cloud, CloudSettings
from loadtests.simulation.engine import EngineCurve
from loadtests.simulation.fleet import Fleet
from loadtests.simulation.replicas import Replicas, Sums
from loadtests.simulation.scaler import Observed, Scaler


@dataclass(frozen=True)
class PoolSettings:
    """look_s: between two looks of the scaler, as Serve's replicas report. initial: replicas that are up at first."""

    curve: EngineCurve
    slots: int
    cloud: CloudSettings
    max_replicas: int
    initial: int = 1
    look_s: float = 10.0
    look_back_s: float = 30.0

    @property
    def full_audio_s_per_s(self) -> float:
        return self.curve.audio_s_per_s(self.slots)


@dataclass(frozen=True)
class Course:
    """At each look: the time, and what was so then."""

    now_s: Floats
    target: Floats
    up: Floats
    waiting: Floats
    in_use: Floats

    @property
    def turns(self) -> int:
        """How often the target changed its direction."""
        steps = np.sign(np.diff(self.target))
        steps = steps[steps != 0]
        return int(np.sum(steps[1:] != steps[:-1]))


@dataclass(frozen=True)
class Outcome:
    """Audio is in seconds. waits_s: until the first slot, of all who arrived. up_s: replica-seconds. moved: how often a
    generation lost its slot. lost_audio_s: made twice.
    """

    waits_s: Floats
    num_arrived: int
    num_ended: int
    num_in_use: int
    num_waiting: int
    asked_audio_s: float
    ended_audio_s: float
    made_audio_s: float
    unmade_audio_s: float
    lost_audio_s: float
    moved: int
    preemptions: int
    up_s: float
    cost: float
    course: Course


def simulate(
    arrivals: Arrivals, settings: PoolSettings, scaler: Scaler, duration_s: float, rng: np.random.Generator
) -> Outcome:
    """rng: of the cloud's."""
    # Those that drain come on top of the others.
    places = 3 * settings.max_replicas + 8
    paces = settings.curve.paces(settings.slots)
    replicas = Replicas(arrivals.arrives_s, arrivals.audio_s, paces, places)
    fleet = Fleet(Cloud(settings.cloud, rng), replicas, places)
    fleet.begin(settings.initial)
    reports = deque([replicas.sums()], maxlen=1 + round(settings.look_back_s / settings.look_s))
    rows, up_s = [], 0.0
    for now_s in np.arange(settings.look_s, duration_s + settings.look_s / 2, settings.look_s):
        fleet.advance(now_s)
        reports.append(replicas.sums())
        up_s += fleet.up * settings.look_s
        observed = _observe(reports[0], reports[-1], fleet, settings)
        rows.append((now_s, fleet.target, fleet.up, replicas.waiting, replicas.in_use))
        fleet.scale(scaler(observed))
    return _outcome(replicas, fleet, up_s, Course(*np.array(rows, float).T))


def _observe(before: Sums, now: Sums, fleet: Fleet, settings: PoolSettings) -> Observed:
    elapsed_s = now.now_s - before.now_s
    return Observed(
        now_s=now.now_s,
        replicas=fleet.up,
        target=fleet.target,
        slots=settings.slots,
        in_use=(now.in_use - before.in_use) / elapsed_s,
        waiting=(now.waiting - before.waiting) / elapsed_s,
        waiting_audio_s=(now.waiting_audio_s - before.waiting_audio_s) / elapsed_s,
        made_audio_s_per_s=(now.made_audio_s - before.made_audio_s) / elapsed_s,
        audio_s_per_s=settings.full_audio_s_per_s,
    )


def _outcome(replicas: Replicas, fleet: Fleet, up_s: float, course: Course) -> Outcome:
    unmade_s = replicas.unmade_audio_s()
    return Outcome(
        waits_s=replicas.waits_s(),
        num_arrived=replicas.num_arrived,
        num_ended=replicas.num_ended,
        num_in_use=replicas.in_use,
        num_waiting=replicas.waiting,
        asked_audio_s=float(replicas.state.audio_s[: replicas.num_arrived].sum()),
        ended_audio_s=replicas.ended_audio_s,
        made_audio_s=replicas.sums().made_audio_s,
        unmade_audio_s=unmade_s,
        lost_audio_s=replicas.lost_audio_s,
        moved=replicas.num_moved,
        preemptions=fleet.preemptions,
        up_s=up_s,
        cost=fleet.settled_cost(),
        course=course,
    )
