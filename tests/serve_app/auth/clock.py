"""A clock that only a test moves, and those that sleep by it; threads go on as they like."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Clock:
    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s
        self._asleep: list[tuple[float, asyncio.Future[None]]] = []

    def __call__(self) -> float:
        return self.now_s

    @property
    def num_asleep(self) -> int:
        return sum(not awake.done() for _, awake in self._asleep)

    async def sleep(self, seconds: float) -> None:
        awake = asyncio.get_running_loop().create_future()
        self._asleep.append((self.now_s + seconds, awake))
        await awake

    def advance(self, seconds: float) -> None:
        """Wakes whom it is time for."""
        self.now_s += seconds
        for due_s, awake in self._asleep:
            if due_s <= self.now_s and not awake.done():
                awake.set_result(None)
        self._asleep = [each for each in self._asleep if not each[1].done()]


async def until(condition: Callable[[], bool]) -> None:
    """Lets everybody else go on until it is so."""
    while not condition():
        await asyncio.sleep(0.001)
