"""Waiting for a sign of life, by whoever may itself be held up meanwhile.

A process that was stopped (SIGSTOP, a machine that slept) wakes with its time-outs past and what came in the meantime
not read yet. That silence was its own, and says nothing about the other side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
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
