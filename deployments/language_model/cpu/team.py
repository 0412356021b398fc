"""Where the threads of a team wait for each other in the middle of a compiled function.

Threads that run one compiled function together.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from numba import njit, types

from deployments.language_model.cpu.kernels import arrive, look

_SPINS_BEFORE_YIELD = 2000

_sched_yield = types.ExternalFunction("sched_yield", types.int32())


@njit(nogil=True, cache=True, error_model="numpy")
def meet(barrier, num_met, num_threads):
    """Wait until every thread of the team has come here, after `num_met` earlier meetings; gives how many it are now.

    The counter only grows: a thread that is late in leaving one meeting can't miss it over the next.
    """
    counter = barrier.ctypes.data
    arrive(counter)
    goal = (num_met + 1) * num_threads
    spins = 0
    while look(counter) < goal:
        spins += 1
        if spins > _SPINS_BEFORE_YIELD:
            _sched_yield()
    return num_met + 1


class Team:
    """The calling thread is number 0; the others wait for their turns until `close`. One caller at a time.

    What is run takes (thread, num_threads, …), lets go of the interpreter's lock, and meets its fellows at its end.
    """

    def __init__(self, num_threads: int) -> None:
        self.num_threads = num_threads
        self._turns: list[queue.SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]] | None]] = [
            queue.SimpleQueue() for _ in range(num_threads - 1)
        ]
        self._threads = [
            threading.Thread(target=self._follow, args=(i + 1, turns), name=f"team-{i + 1}", daemon=True)
            for i, turns in enumerate(self._turns)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Team:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def run(self, function: Callable[..., None], *arguments: Any) -> None:
        """Returns when all have met at the function's end."""
        for turns in self._turns:
            turns.put((function, arguments))
        function(0, self.num_threads, *arguments)

    def close(self) -> None:
        for turns in self._turns:
            turns.put(None)
        for thread in self._threads:
            thread.join()

    def _follow(
        self, number: int, turns: queue.SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]] | None]
    ) -> None:
        while (turn := turns.get()) is not None:
            function, arguments = turn
            function(number, self.num_threads, *arguments)
