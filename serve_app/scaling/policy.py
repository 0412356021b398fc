"""How many replicas a pool of engines needs: the work that waits against what a replica makes. Pure: no clock, no Ray.

A pool has two targets. The share of slots and of throughput in use stays at `load`; and a generation gets a slot within
`wait_s`, either because there are slots for all at once (real time, where the wait is shorter than a clip takes) or
because the generations before it are done by then (batch: a few replicas work through a long queue).

Work is measured in audio-seconds a second rather than in slots. An engine that is nearly as fast with one generation as
with all slots full empties its slots as soon as another replica helps; by slots, that replica would be stopped again.
The audio that is requested in a second stays the same, however many replicas make it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FRAME_RATE = 50


@dataclass(frozen=True)
class Waiting:
    """Work that no engine has accepted yet, in a pipeline or as queued jobs. frames: of all these generations."""

    generations: int
    frames: int

    @property
    def audio_s(self) -> float:
        """Seconds of music."""
        return self.frames / FRAME_RATE

    def __add__(self, other: Waiting) -> Waiting:
        return Waiting(self.generations + other.generations, self.frames + other.frames)


NOTHING_WAITS = Waiting(0, 0)


# Rounding errors of means and rates: 7.000000001 replicas are 7.
_ROUNDING = 1e-6
# An extra replica stays while the load without it would leave less than this share of the others' capacity.
SPARE = 0.1


@dataclass(frozen=True)
class PoolLoad:
    """What a pool's replicas hold and make. Numbers may be means over a look-back, so they need not be whole.

    Attributes:
        replicas: that are up.
        target: that Serve was told to have, including those that are starting.
        slots: of one replica.
        in_use: generations in slots, of all replicas.
        waiting: generations without a slot, in engines, pipelines and job queues.
        waiting_audio_s: the audio that these are to make.
        made_audio_s_per_s: the throughput of all replicas now; None if not measured yet.
        audio_s_per_s: the throughput of one replica whose slots are all in use; None if not measured yet.
    """

    replicas: int
    target: int
    slots: int
    in_use: float
    waiting: float
    waiting_audio_s: float
    made_audio_s_per_s: float | None = None
    audio_s_per_s: float | None = None

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise ValueError("a replica has at least one slot")
        if self.audio_s_per_s is not None and not self.audio_s_per_s > 0:
            raise ValueError("a full replica makes more than nothing; say None for one that was not measured")

    @property
    def idle(self) -> bool:
        return self.in_use <= 0 and self.waiting <= 0


@dataclass(frozen=True)
class Targets:
    """load: the share of slots, and of throughput, that may be in use. wait_s: how long work may wait for a slot.

    With a load of 1, full slots alone start no replica: only work that waits too long does (batch).
    """

    load: float
    wait_s: float

    def __post_init__(self) -> None:
        if not 0 < self.load <= 1:
            raise ValueError("load is more than 0 and at most 1")
        if not self.wait_s > 0:
            raise ValueError("wait_s is more than 0")


def busy_replicas(load: PoolLoad, wait_s: float) -> float:
    """How many replicas with all slots in use the work would keep busy; not rounded."""
    if load.idle:
        return 0.0
    # Until it is measured, a slot is assumed to make music as fast as it plays.
    throughput = load.audio_s_per_s or float(load.slots)
    made = 0.0
    if load.made_audio_s_per_s is not None and load.audio_s_per_s is not None:
        # Never more than are up: noise in a full pool must not start another replica.
        made = min(load.made_audio_s_per_s / throughput, load.replicas)
    running = max(load.in_use / load.slots, made)
    at_once = (load.in_use + load.waiting) / load.slots
    in_time = load.waiting_audio_s / (throughput * wait_s)
    return max(running, min(at_once, in_time))


def desired_replicas(load: PoolLoad, targets: Targets) -> int:
    """Returns the replicas to have, before Serve's bounds and delays; 0 when nothing is in use or waiting.

    Never less for a heavier load, and stable: with its own answer as the target it answers the same. Between what is
    needed and SPARE more, the target stays.
    """
    if load.idle:
        return 0
    desired = _settle(busy_replicas(load, targets.wait_s) / targets.load, load.target)
    # While none is up Serve applies no delays: it would stop at once what it has just begun to start.
    return max(desired, load.target) if load.replicas == 0 else desired


def desired_followers(demand_per_s: float, each_per_s: float | None, target: int, load: float) -> int:
    """Returns how many text encoders or codec decoders the engines need.

    Args:
        demand_per_s: what the engines will need once they are as many as desired: audio-seconds or prompts a second.
        each_per_s: what one follower can do; None: not measured, and the target stays, at least 1.
        target: followers that Serve was told to have.
        load: the share of their capacity to use.
    """
    if demand_per_s <= 0:
        return 0
    if each_per_s is None:
        return max(1, target)
    return _settle(demand_per_s / (each_per_s * load), target)


def expected_audio_s_per_s(load: PoolLoad, targets: Targets) -> float:
    """The throughput of the pool once it has the replicas that it needs."""
    return busy_replicas(load, targets.wait_s) * (load.audio_s_per_s or float(load.slots))


def _settle(needed: float, target: int) -> int:
    """The target, if it is enough and not too much; else the nearest number that is."""
    least, most = (max(1, math.ceil(n - _ROUNDING)) for n in (needed, needed * (1 + SPARE)))
    return min(max(target, least), most)
