"""What a process does about having been suspended itself (SIGSTOP, a machine that slept, an event loop held up).

It wakes with its time-outs past, and has not yet read what came in the meantime. That silence was its own and says
nothing about the other side: `within` is a time-out that doesn't count it.

It also wakes to calls that may have been cancelled meanwhile. Word of that comes after the calls themselves, and Ray
may take seconds to repeat it. `StallDetector` tells whether the loop was held up just now, so that a replica first asks
its callers whether they still want their calls (`CallerWatch.is_wanted`).

`SelfFencing`: whoever reads a request's frames goes to another replica after some silence. A replica that was suspended
can't know whether that has happened. So after a silence longer than its lease, which is shorter than the reader's, it
gives up all its requests before its next step; else they would be made twice.

The event loop renews the lease, because it alone sends anything; the thread that computes steps looks at it. A renewal
that comes too late has the requests given up *before* the lease holds again. So a thread that first looks at the lease
and then at its commands either sees that the lease has expired or finds the command to give up. (A step that was under
way when the replica was suspended is finished.) While the thread is busy with a step, however long, renewals go on.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

from deployments.liveness.timings import TIMINGS, Timings, uptime_s

T = TypeVar("T")


class SelfFencing:
    """A replica's lease on its own requests.

    `renew` is called by one thread, the event loop's; `expired` by any.

    lease_s: seconds without a renewal, after which the lease has expired. clock: as `uptime_s`.
    """

    def __init__(self, lease_s: float = TIMINGS.engine_lease_s, clock: Callable[[], float] = uptime_s) -> None:
        self.lease_s = lease_s
        self._clock = clock
        self._renewed_s = clock()

    @property
    def expired(self) -> bool:
        """Whether there was no renewal for longer than the lease."""
        return self._clock() - self._renewed_s > self.lease_s

    def renew(self, give_up: Callable[[], None]) -> None:
        """A sign of life. give_up: called first where the lease has expired."""
        now_s = self._clock()  # before `give_up`: if the process is suspended in there, the lease has expired after it
        if now_s - self._renewed_s > self.lease_s:
            give_up()
        self._renewed_s = now_s


async def within(item: Awaitable[T], timeout_s: float) -> T:
    """The item's result, if it comes in so many seconds in which this event loop was running; else it is cancelled.

    However long the loop was held up at a time, it counts as no more than `Timings.tick_s`.

    Raises:
        asyncio.TimeoutError: When the item does not come in time.
        Exception: What awaiting the item raises.
    """
    waiting = asyncio.ensure_future(item)
    try:
        left_s = timeout_s
        while left_s > 0:
            tick_s = min(TIMINGS.tick_s, left_s)
            if (await asyncio.wait({waiting}, timeout=tick_s))[0]:
                return waiting.result()
            left_s -= tick_s
        raise asyncio.TimeoutError
    finally:
        if not waiting.done():
            waiting.cancel()
            await asyncio.wait({waiting})


class StallDetector:
    """Whether the event loop was held up just now. It ticks from the first call on, as long as the loop runs.

    Args:
        clock: as `uptime_s`.
    """

    def __init__(self, clock: Callable[[], float] = uptime_s, timings: Timings = TIMINGS) -> None:
        self._clock = clock
        self._timings = timings
        self._ticked_s = self._stalled_s = -math.inf
        self._ticking: asyncio.Task[None] | None = None

    def stalled_recently(self) -> bool:
        """Whether the loop was held up just now, or may have been: nothing is known of the time before the first call.

        Called on the loop, by each call that begins there.
        """
        if self._ticking is None:
            self._ticking = asyncio.create_task(self._tick())
        self._look()
        return self._ticked_s - self._stalled_s < self._timings.after_stall_s

    def close(self) -> None:
        """Ends the ticking."""
        if self._ticking is not None:
            self._ticking.cancel()

    def _look(self) -> None:
        now_s = self._clock()
        if now_s - self._ticked_s > self._timings.stall_s:
            self._stalled_s = now_s
        self._ticked_s = now_s

    async def _tick(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(self._timings.tick_s)
