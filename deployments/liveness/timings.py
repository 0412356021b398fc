"""How long each process waits for another before it takes it for unresponsive, all in one place, and the clock for it.

These times depend on each other: a replica has to give its work up before others take it over, and a caller has to wait
longer than it takes to find out that a replica was suspended. `Timings` states these conditions and checks them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, fields

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def uptime_s() -> float:
    """Seconds since some moment in the past. Goes on while the process is stopped or the machine sleeps."""
    return time.clock_gettime(_CLOCK)


@dataclass(frozen=True)
class Timings:
    """Periods and time-outs, all in seconds.

    Attributes:
        heartbeat_s: between two heartbeats: of a caller to the replicas that work for it, of an engine and of a pipeline
            to those that read their streams.
        tick_s: between two looks at the clock, by which a process notices that it was suspended itself.
        stall_s: a longer gap between two ticks is a stall.
        after_stall_s: for so long after a stall a replica asks whether a call is still wanted; calls that came during
            the stall have begun by then.
        connect_timeout_s: for a connection to a caller.
        answer_timeout_s: for a caller's answer whether it wants a call.
        caller_silence_s: without a heartbeat, after which a caller is given up.
        caller_return_s: how long an ended call waits for a suspended caller: longer than Ray takes to see that a machine
            is gone.
        engine_lease_s: without a sign of life from itself, after which an engine gives up all its requests
            (self-fencing).
        engine_first_sign_s: until an engine has shown that it took a call; then another is called, or the same again.
        engine_silence_s: without a sign of life, after which a pipeline takes a request to another engine.
        pipeline_first_sign_s: until a pipeline has shown that it took a call; then another is called.
        database_lease_s: the default of the setting `records.lease_s`, after which others may take over what a dead
            pipeline was making.
        encode_timeout_s: for the text states of a prompt, which take milliseconds.
        window_timeout_s: for the sound of one window, which takes tens of milliseconds.
        ping_timeout_s: for the answer whether a replica is up.

    Raises:
        ValueError: For times that contradict each other.
    """

    heartbeat_s: float = 1.0
    tick_s: float = 0.5
    stall_s: float = 2.0
    after_stall_s: float = 5.0

    connect_timeout_s: float = 5.0
    answer_timeout_s: float = 2.0
    caller_silence_s: float = 7.0
    caller_return_s: float = 60.0

    engine_lease_s: float = 5.0
    engine_first_sign_s: float = 5.0
    engine_silence_s: float = 7.0
    pipeline_first_sign_s: float = 3.0
    database_lease_s: float = 15.0

    encode_timeout_s: float = 30.0
    window_timeout_s: float = 30.0
    ping_timeout_s: float = 2.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) <= 0:
                raise ValueError(f"{field.name} is {getattr(self, field.name):g} and must be more than 0")
        for less, more, why in self._conditions():
            less_s, more_s = (sum(getattr(self, name) for name in names.split(" + ")) for names in (less, more))
            if less_s >= more_s:
                raise ValueError(f"{less} ({less_s:g} s) must be less than {more} ({more_s:g} s): {why}")

    @staticmethod
    def _conditions() -> Iterator[tuple[str, str, str]]:
        """(a time or a sum of times, one that is longer, and why it must be)."""
        yield "tick_s", "stall_s", "or every tick would be taken for a stall"
        yield "tick_s", "after_stall_s", "or a stall would be over before it is noticed"
        for first_sign in ("engine_first_sign_s", "pipeline_first_sign_s"):
            yield "stall_s", first_sign, "or a caller gives up on a replica that does not know that it was suspended"
            yield "answer_timeout_s", first_sign, "or a caller gives up while the replica asks whether it is wanted"
        yield "heartbeat_s", "caller_silence_s", "or a caller that is up would be given up"
        yield "heartbeat_s", "engine_lease_s", "or an engine that is up would give up its requests"
        # A reader may have heard of the engine a heartbeat later than the engine itself.
        yield "engine_lease_s + heartbeat_s", "engine_silence_s", "or a request would be made twice"
        yield "caller_silence_s", "database_lease_s", "or others take over what is still made here"
        yield "answer_timeout_s", "caller_return_s", "or a suspended caller would be asked once only"


TIMINGS = Timings()
