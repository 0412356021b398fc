"""The discrete events inside a pool: who arrives, gets a slot, is made and leaves it. Compiled: there are millions.

All generations in a replica's slots advance at one pace, which depends on how many they are (`EngineCurve`). So a
replica keeps one number, the audio-seconds that each slot has made in it so far, and a generation the value at which it
is whole. Whoever waits gets the first free slot, in the replica that has most of them; those who lost theirs go first.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from loadtests.simulation.tournament_tree import Tournament, first, put

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Of `State.sums`: the time, and integrals over it.
NOW_S, IN_USE_S, WAITING_S, WAITING_AUDIO_S, MADE_AUDIO_S, ENDED_AUDIO_S, LOST_AUDIO_S, QUEUED_AUDIO_S = range(8)
# Of `State.counts`.
ARRIVED, STARTED, BACK_FIRST, BACK_END, IN_USE, ENDED, MOVED = range(7)


class State(NamedTuple):
    """arrives_s, audio_s, began_s: of each generation, by arrival; when it first got a slot, NaN before. paces: audio-
    seconds a second of each of that many. Of each replica: used, is_open, progress_s (audio-seconds a slot has made),
    since_s (when that was so), holds and due_s [replica, slot] (generation, or -1; progress at which it is whole),
    next_end_s and fullness as tournaments. back_*: a ring of those who lost their slots.
    """

    arrives_s: Floats
    audio_s: Floats
    began_s: Floats
    paces: Floats
    used: Ints
    is_open: NDArray[np.bool_]
    progress_s: Floats
    since_s: Floats
    holds: Ints
    due_s: Floats
    next_end_s: Tournament
    fullness: Tournament
    back_ids: Ints
    back_left_s: Floats
    sums: Floats
    counts: Ints


def _waiting(state: State) -> int:
    counts = state.counts
    return int(counts[ARRIVED] - counts[STARTED] + counts[BACK_END] - counts[BACK_FIRST])


def _settle(state: State, replica: int) -> None:
    """What it made since it was last looked at."""
    used = state.used[replica]
    made_s = (state.sums[NOW_S] - state.since_s[replica]) * state.paces[used]
    state.progress_s[replica] += made_s
    state.since_s[replica] = state.sums[NOW_S]
    state.sums[MADE_AUDIO_S] += used * made_s


def _plan(state: State, replica: int) -> None:
    """After a change of those it holds: when the next of them is whole, and whether it takes another."""
    used, num_slots = state.used[replica], len(state.paces) - 1
    end_s = np.inf
    if used:
        due_s = state.due_s[replica].min()
        end_s = state.sums[NOW_S] + max(0.0, due_s - state.progress_s[replica]) / state.paces[used]
    put(state.next_end_s, replica, end_s)
    put(state.fullness, replica, float(used) if state.is_open[replica] and used < num_slots else np.inf)


def _fill(state: State) -> None:
    """Free slots for those who wait."""
    sums, counts = state.sums, state.counts
    while waiting(state) and state.fullness[1] < np.inf:
        replica = first(state.fullness)
        settle(state, replica)
        if counts[BACK_FIRST] < counts[BACK_END]:
            place = counts[BACK_FIRST] % len(state.back_ids)
            generation, left_s = state.back_ids[place], state.back_left_s[place]
            counts[BACK_FIRST] += 1
        else:
            generation = counts[STARTED]
            left_s = state.audio_s[generation]
            state.began_s[generation] = sums[NOW_S]
            counts[STARTED] += 1
        slot = state.holds[replica].argmin()  # -1: a free one
        state.holds[replica, slot] = generation
        state.due_s[replica, slot] = state.progress_s[replica] + left_s
        state.used[replica] += 1
        counts[IN_USE] += 1
        sums[QUEUED_AUDIO_S] = sums[QUEUED_AUDIO_S] - left_s if waiting(state) else 0.0
        plan(state, replica)


def _pass_time(state: State, to_s: float) -> None:
    sums = state.sums
    elapsed_s = to_s - sums[NOW_S]
    sums[IN_USE_S] += elapsed_s * state.counts[IN_USE]
    sums[WAITING_S] += elapsed_s * waiting(state)
    sums[WAITING_AUDIO_S] += elapsed_s * sums[QUEUED_AUDIO_S]
    sums[NOW_S] = to_s


def _advance(state: State, until_s: float) -> None:
    """All that happens until then."""
    sums, counts = state.sums, state.counts
    while True:
        arrival_s = state.arrives_s[counts[ARRIVED]] if counts[ARRIVED] < len(state.arrives_s) else np.inf
        end_s = state.next_end_s[1]
        if min(arrival_s, end_s) > until_s:
            break
        if arrival_s < end_s:
            pass_time(state, arrival_s)
            sums[QUEUED_AUDIO_S] += state.audio_s[counts[ARRIVED]]
            counts[ARRIVED] += 1
        else:
            pass_time(state, end_s)
            replica = first(state.next_end_s)
            settle(state, replica)
            slot = state.due_s[replica].argmin()
            sums[ENDED_AUDIO_S] += state.audio_s[state.holds[replica, slot]]
            counts[ENDED] += 1
            state.holds[replica, slot] = -1
            state.due_s[replica, slot] = np.inf
            state.used[replica] -= 1
            counts[IN_USE] -= 1
            plan(state, replica)
        fill(state)
    pass_time(state, until_s)


def _evict(state: State, replica: int, window_s: float) -> None:
    """All it holds go back among the waiting, with what they had made in whole windows of window_s."""
    settle(state, replica)
    for slot in range(len(state.paces) - 1):
        generation = state.holds[replica, slot]
        if generation < 0:
            continue
        left_s = max(0.0, state.due_s[replica, slot] - state.progress_s[replica])
        made_s = state.audio_s[generation] - left_s
        lost_s = made_s % window_s
        place = state.counts[BACK_END] % len(state.back_ids)
        state.back_ids[place], state.back_left_s[place] = generation, left_s + lost_s
        state.counts[BACK_END] += 1
        state.counts[MOVED] += 1
        state.counts[IN_USE] -= 1
        state.sums[LOST_AUDIO_S] += lost_s
        state.sums[QUEUED_AUDIO_S] += left_s + lost_s
        state.holds[replica, slot] = -1
        state.due_s[replica, slot] = np.inf
    state.used[replica] = 0
    plan(state, replica)
    fill(state)


# Called rather than used as decorators, which would take the types away. Inlined: counting the references to the arrays
# of a state at every call would take most of the time.
waiting = njit(cache=True, inline="always")(_waiting)
settle = njit(cache=True, inline="always")(_settle)
plan = njit(cache=True, inline="always")(_plan)
fill = njit(cache=True, inline="always")(_fill)
pass_time = njit(cache=True, inline="always")(_pass_time)
advance = njit(cache=True, error_model="numpy")(_advance)
evict = njit(cache=True, error_model="numpy")(_evict)
