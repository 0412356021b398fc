"""Who decides how many replicas a pool has: from what Serve's controller would know, at each of its looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from serve_app.scaling.policy import PoolLoad, Targets, desired_replicas


@dataclass(frozen=True)
class Observed:
    """Of a pool at now_s. Means over the look-back; `PoolLoad` says the rest. audio_s_per_s: of a full replica."""

    now_s: float
    replicas: int
    target: int
    slots: int
    in_use: float
    waiting: float
    waiting_audio_s: float
    made_audio_s_per_s: float
    audio_s_per_s: float


Scaler = Callable[[Observed], int]


def fixed(replicas: int) -> Scaler:
    """A fleet that stays as it is."""
    return lambda observed: replicas


def ours(targets: Targets) -> Scaler:
    """`serve_app.scaling.policy`, before Serve's delays and bounds."""

    def decide(observed: Observed) -> int:
        load = PoolLoad(
            replicas=observed.replicas,
            target=observed.target,
            slots=observed.slots,
            in_use=observed.in_use,
            waiting=observed.waiting,
            waiting_audio_s=observed.waiting_audio_s,
            made_audio_s_per_s=observed.made_audio_s_per_s,
            audio_s_per_s=observed.audio_s_per_s,
        )
        return desired_replicas(load, targets)

    return decide
