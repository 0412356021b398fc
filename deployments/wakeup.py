"""An event loop that was held up (SIGSTOP, a frozen machine) wakes to calls that may have been taken back meanwhile.

The word of that comes after the calls themselves, and it may take Ray seconds to repeat it. So what is called of a loop
that has just come back asks its caller first (`Attendance.is_wanted`).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

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
