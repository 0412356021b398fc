"""An event loop that was held up (SIGSTOP, a frozen machine) wakes to calls that may have been taken back meanwhile.

The word of that lies behind the calls themselves. So a call that finds the loop just awake waits a moment, in which it
is cancelled if nobody wants it any more, before it begins what another may have made by now.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

# The loop ticks so often; after a gap of so much more it was held up. Less than those who call have patience for.
TICK_S = 0.5
GAP_S = 3.0
# Less than callers wait for a first sign of life (3 s and more).
GRACE_S = 1.5

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while a virtual machine is suspended


def uptime_s() -> float:
    """Seconds since some moment in the past, those included in which the machine slept."""
    return time.clock_gettime(_CLOCK)


class Wakeup:
    """clock: as `uptime_s`. It ticks from the first call on, as long as the loop runs."""

    def __init__(self, clock: Callable[[], float] = uptime_s) -> None:
        self._clock = clock
        self._ticked_s: float | None = None
        self._awake_s = -GRACE_S
        self._ticking: asyncio.Task[None] | None = None

    async def over(self) -> None:
        """Returns at once, unless the loop has just come back."""
        if self._ticking is None:
            self._ticking = asyncio.create_task(self._tick())
        self._look()
        left_s = self._awake_s + GRACE_S - self._clock()
        if left_s > 0:
            await asyncio.sleep(left_s)

    def close(self) -> None:
        """Ends the ticking."""
        if self._ticking is not None:
            self._ticking.cancel()

    def _look(self) -> None:
        now_s = self._clock()
        if self._ticked_s is not None and now_s - self._ticked_s > GAP_S:
            self._awake_s = now_s
        self._ticked_s = now_s

    async def _tick(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(TICK_S)
