"""Work that no engine has taken in yet: in a pipeline, or in the records as jobs that nobody has begun.

How many replicas a pool of engines needs: what is waiting against what a replica makes. Pure; no clock, no Ray.

Two things are asked of a pool. Work in slots must be held at `load`, as slots and as speed; and whoever waits must get
a slot within `wait_s`, either since there are slots for all at once (real time, whose patience is shorter than a clip
takes) or since what is before them is made by then (batch: a few replicas work through a long queue).

What is made in a second is the measure of work, rather than the slots it takes: an engine that is nearly as fast with
one generation as with all its slots full empties its slots as soon as it gets help, and would lose the help again. The
audio that is asked for in a second stays what it is, however many make it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FRAME_RATE = 50


@dataclass(frozen=True)
class Waiting:
    """Generations, and the frames asked of them together."""

    generations: int
    frames: int

    @property
    def audio_s(self) -> float:
        """Of music."""
        return self.frames / FRAME_RATE

    def __add__(self, other: Waiting) -> Waiting:
        return Waiting(self.generations + other.generations, self.frames + other.frames)


NOTHING_WAITS = Waiting(0, 0)


# Below the differences that counts and rates are known to: 7.000000001 replicas are 7.
_ROUNDING = 1e-6
# A replica more than needed stays while the load would leave less than this share of the others' room.
SPARE = 0.1


@dataclass(frozen=True)
class PoolLoad:
    """What a pool's replicas hold and make. Numbers may be means over a look-back, so they need not be whole.

    replicas: up. target: asked for, those that are starting too. slots: of one replica. in_use: generations in slots,
    of all replicas. waiting, waiting_audio_s: generations without a slot, wherever they wait (engines, pipelines,
    queued jobs), and the audio that is asked of them. made_audio_s_per_s: by all replicas now. audio_s_per_s: by one
    whose slots are all in use. Either is None as long as nobody has measured it.
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
    """load: the share of slots, and of speed, that may be in use. wait_s: how long work may wait for a slot.

    With a load of 1 full slots are no reason for another replica: only who waits too long is (batch).
    """

    load: float
    wait_s: float

    def __post_init__(self) -> None:
        if not 0 < self.load <= 1:
            raise ValueError("load is more than 0 and at most 1")
        if not self.wait_s > 0:
            raise ValueError("wait_s is more than 0")


def busy_replicas(load: PoolLoad, wait_s: float) -> float:
    """How many replicas, all of whose slots are in use, the work is enough for; not rounded."""
    if load.idle:
        return 0.0
    # A slot that nobody has timed yet is taken to make music as fast as it plays.
    speed = load.audio_s_per_s or float(load.slots)
    made = 0.0
    if load.made_audio_s_per_s is not None and load.audio_s_per_s is not None:
        # Never more than those who are up: noise in a full pool is no reason for another replica.
        made = min(load.made_audio_s_per_s / speed, load.replicas)
    running = max(load.in_use / load.slots, made)
    at_once = (load.in_use + load.waiting) / load.slots
    in_time = load.waiting_audio_s / (speed * wait_s)
    return max(running, min(at_once, in_time))


def desired_replicas(load: PoolLoad, targets: Targets) -> int:
    """Replicas to ask for, before bounds and delays, which are Serve's. Zero when nothing is in use or waiting.

    It never falls with a heavier load, and what it answers it keeps: asked again with that as the target it says the
    same. Between what is needed and SPARE more, the target stays.
    """
    if load.idle:
        return 0
    desired = _settle(busy_replicas(load, targets.wait_s) / targets.load, load.target)
    # While none is up Serve knows no delays: it would stop at once what it has just begun to start.
    return max(desired, load.target) if load.replicas == 0 else desired


def desired_followers(demand_per_s: float, each_per_s: float | None, target: int, load: float) -> int:
    """How many encoders or decoders the engines need.

    demand_per_s: what the engines ask of them, or will once they are as many as desired: audio-seconds of decoders,
    requests of encoders. each_per_s: what one of them can do; None: not measured, and the target stays, at least 1.
    target, load: as `PoolLoad` and `Targets` have them, of the followers.
    """
    if demand_per_s <= 0:
        return 0
    if each_per_s is None:
        return max(1, target)
    return _settle(demand_per_s / (each_per_s * load), target)


def expected_audio_s_per_s(load: PoolLoad, targets: Targets) -> float:
    """What the pool will be making once it has the replicas that it needs."""
    return busy_replicas(load, targets.wait_s) * (load.audio_s_per_s or float(load.slots))


def _settle(needed: float, target: int) -> int:
    """The target, if it is enough and not too much; else what is nearest to it."""
    least, most = (max(1, math.ceil(n - _ROUNDING)) for n in (needed, needed * (1 + SPARE)))
    return min(max(target, least), most)
