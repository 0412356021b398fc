"""The replicas of a pool and the generations in their slots: opened, closed, emptied, and moved on in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadtests.simulation.advance import (
    ARRIVED,
    ENDED,
    ENDED_AUDIO_S,
    IN_USE,
    IN_USE_S,
    LOST_AUDIO_S,
    MADE_AUDIO_S,
    MOVED,
    NOW_S,
    QUEUED_AUDIO_S,
    WAITING_AUDIO_S,
    WAITING_S,
    Floats,
    State,
    advance,
    evict,
    fill,
    plan,
    settle,
    waiting,
)
from loadtests.simulation.tournament_tree import tournament


@dataclass(frozen=True)
class Sums:
    """Since the start. in_use, waiting, waiting_audio_s: integrals over time, so that a difference gives a mean."""

    now_s: float
    in_use: float
    waiting: float
    waiting_audio_s: float
    made_audio_s: float


class Replicas:
    """arrives_s: in order. audio_s: that each asks for. paces: audio-seconds a second of each of 0, 1, … in slots."""

    def __init__(self, arrives_s: Floats, audio_s: Floats, paces: Floats, max_replicas: int) -> None:
        if np.any(np.diff(arrives_s) < 0):
            raise ValueError("arrivals are in order")
        slots = len(paces) - 1
        shape = max_replicas, slots
        self.state = State(
            arrives_s=arrives_s,
            audio_s=audio_s,
            began_s=np.full(len(arrives_s), np.nan),
            paces=paces,
            used=np.zeros(max_replicas, np.int64),
            is_open=np.zeros(max_replicas, np.bool_),
            progress_s=np.zeros(max_replicas),
            since_s=np.zeros(max_replicas),
            holds=np.full(shape, -1),
            due_s=np.full(shape, np.inf),
            next_end_s=tournament(max_replicas),
            fullness=tournament(max_replicas),
            # Those who were moved and wait have all been in slots at once: new ones get none before them.
            back_ids=np.zeros(max_replicas * slots, np.int64),
            back_left_s=np.zeros(max_replicas * slots),
            sums=np.zeros(8),
            counts=np.zeros(7, np.int64),
        )

    def open(self, replica: int) -> None:
        """It takes generations from now on."""
        self._settle(replica)
        if not self.used(replica):
            self.state.progress_s[replica] = 0.0  # small numbers are exact ones
        self.state.is_open[replica] = True
        plan(self.state, replica)
        fill(self.state)

    def close(self, replica: int) -> None:
        """It takes no more of them and makes those that it has."""
        self._settle(replica)
        self.state.is_open[replica] = False
        plan(self.state, replica)

    def empty(self, replica: int, window_s: float) -> None:
        """What it holds goes elsewhere; what was made in a window that was not whole is made again."""
        self.close(replica)
        evict(self.state, replica, window_s)

    def advance(self, until_s: float) -> None:
        advance(self.state, until_s)

    def _settle(self, replica: int) -> None:
        settle(self.state, replica)

    def used(self, replica: int) -> int:
        return int(self.state.used[replica])

    def sums(self) -> Sums:
        for replica in np.flatnonzero(self.state.used):
            self._settle(int(replica))
        places = NOW_S, IN_USE_S, WAITING_S, WAITING_AUDIO_S, MADE_AUDIO_S
        return Sums(*(float(self.state.sums[place]) for place in places))

    @property
    def now_s(self) -> float:
        return float(self.state.sums[NOW_S])

    @property
    def waiting(self) -> int:
        return int(waiting(self.state))

    @property
    def in_use(self) -> int:
        return int(self.state.counts[IN_USE])

    @property
    def num_arrived(self) -> int:
        return int(self.state.counts[ARRIVED])

    @property
    def num_ended(self) -> int:
        return int(self.state.counts[ENDED])

    @property
    def num_moved(self) -> int:
        """How often a generation lost its slot."""
        return int(self.state.counts[MOVED])

    @property
    def ended_audio_s(self) -> float:
        return float(self.state.sums[ENDED_AUDIO_S])

    @property
    def lost_audio_s(self) -> float:
        """Made, and to be made again."""
        return float(self.state.sums[LOST_AUDIO_S])

    def waits_s(self) -> Floats:
        """Of those who arrived: until their first slot, or until now."""
        num = self.num_arrived
        began_s = self.state.began_s[:num]
        return np.where(np.isnan(began_s), self.now_s, began_s) - self.state.arrives_s[:num]

    def unmade_audio_s(self) -> float:
        """Of those who arrived and have not ended: what is still to be made."""
        self.sums()
        held = self.state.holds >= 0
        left_s = np.where(held, self.state.due_s - self.state.progress_s[:, None], 0.0)
        return float(left_s.sum() + self.state.sums[QUEUED_AUDIO_S])
