"""Whether a replica may still take its generations for its own: fencing by time.

Whoever reads a generation goes on elsewhere after some silence. A replica that was stopped (SIGSTOP, a machine that
slept, an event loop held up) can't know whether that has happened, so once it was silent for a lease that is shorter,
it gives up all it has before it makes another step: else they would be made twice after it wakes.

The event loop beats, as it alone sends anything; the thread that makes steps asks. A beat that comes too late has the
generations given up *before* it lets the pulse pass for alive again. So a thread that asks first and then looks for
what it has been told to do either sees the lapse or has been told of it. (A step that was under way when the replica
was stopped is finished.) While a thread is busy with one step, however long, beats go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable

BEAT_S = 1.0
# Less than the silence after which a generation is taken over, by more than BEAT_S: listeners may hear that much less.
LEASE_S = 5.0

# Of the clocks that nobody sets, the one that goes on while a virtual machine is suspended.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def uptime_s() -> float:
    """Seconds since some moment in the past, those included in which the machine slept."""
    return time.clock_gettime(_CLOCK)


class Pulse:
    """`beat` is called by one thread, the event loop's; `lapsed` by any."""

    def __init__(self, lease_s: float = LEASE_S, clock: Callable[[], float] = uptime_s) -> None:
        self.lease_s = lease_s
        self._clock = clock
        self._last_s = clock()

    @property
    def lapsed(self) -> bool:
        """No beat for more than the lease."""
        return self._clock() - self._last_s > self.lease_s

    def beat(self, give_up: Callable[[], None]) -> None:
        """A sign of life. give_up: called first where the pulse has lapsed."""
        now_s = self._clock()  # of before `give_up`: who is stopped in there wakes with a pulse that has lapsed
        if now_s - self._last_s > self.lease_s:
            give_up()
        self._last_s = now_s
