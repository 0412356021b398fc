"""Waiting for a sign of life, by whoever may itself be held up meanwhile.

A process that was stopped (SIGSTOP, a machine that slept) wakes with its time-outs past and what came in the meantime
not read yet. That silence was its own, and says nothing about the other side.

An event loop that was held up (SIGSTOP, a frozen machine) wakes to calls that may have been taken back meanwhile.

The word of that comes after the calls themselves, and it may take Ray seconds to repeat it. So what is called of a loop
that has just come back asks its caller first (`Attendance.is_wanted`).

Whether a replica may still take its generations for its own: fencing by time.

Whoever reads a generation goes on elsewhere after some silence. A replica that was stopped (SIGSTOP, a machine that
slept, an event loop held up) can't know whether that has happened, so once it was silent for a lease that is shorter,
it gives up all it has before it makes another step: else they would be made twice after it wakes.

The event loop beats, as it alone sends anything; the thread that makes steps asks. A beat that comes too late has the
generations given up *before* it lets the pulse pass for alive again. So a thread that asks first and then looks for
what it has been told to do either sees the lapse or has been told of it. (A step that was under way when the replica
was stopped is finished.) While a thread is busy with one step, however long, beats go on.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

# However long one is held up, it counts as no more than this.
_TICK_S = 0.5


async def within(item: Awaitable[T], patience_s: float) -> T:
    """What comes, if it does in so many seconds in which this event loop was running; else it is cancelled.

    Raises: asyncio.TimeoutError; what awaiting it raises.
    """
    waiting = asyncio.ensure_future(item)
    try:
        left_s = patience_s
        while left_s > 0:
            tick_s = min(_TICK_S, left_s)
            if (await asyncio.wait({waiting}, timeout=tick_s))[0]:
                return waiting.result()
            left_s -= tick_s
        raise asyncio.TimeoutError
    finally:
        if not waiting.done():
            waiting.cancel()
            await asyncio.wait({waiting})


# The loop ticks so often; after a gap of so much it was held up. Less than those who call have patience for.
TICK_S = 0.5
GAP_S = 2.0
# Calls that came while it was held up have begun by then.
RECENT_S = 5.0

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while a virtual machine is suspended


def uptime_s() -> float:
    """Seconds since some moment in the past, those included in which the machine slept."""
    return time.clock_gettime(_CLOCK)


class Wakeup:
    """clock: as `uptime_s`. It ticks from the first call on, as long as the loop runs."""

    def __init__(self, clock: Callable[[], float] = uptime_s) -> None:
        self._clock = clock
        self._ticked_s = self._awake_s = -math.inf
        self._ticking: asyncio.Task[None] | None = None

    def is_recent(self) -> bool:
        """Whether the loop has just come back, or may have: of what was before the first call nothing is known.

        Called on the loop, by whatever begins there.
        """
        if self._ticking is None:
            self._ticking = asyncio.create_task(self._tick())
        self._look()
        return self._ticked_s - self._awake_s < RECENT_S

    def close(self) -> None:
        """Ends the ticking."""
        if self._ticking is not None:
            self._ticking.cancel()

    def _look(self) -> None:
        now_s = self._clock()
        if now_s - self._ticked_s > GAP_S:
            self._awake_s = now_s
        self._ticked_s = now_s

    async def _tick(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(TICK_S)


BEAT_S = 1.0
# Less than the silence after which a generation is taken over, by more than BEAT_S: listeners may hear that much less.
LEASE_S = 5.0


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
