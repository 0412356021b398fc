"""Threads that run one compiled function together, and the barrier at which they wait for each other inside of it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from numba import njit, types

from deployments.language_model.cpu.kernels import count_up, load_shared

_SPINS_BEFORE_YIELD = 2000

_sched_yield = types.ExternalFunction("sched_yield", types.int32())


@njit(nogil=True, cache=True, error_model="numpy")
def wait_at_barrier(barrier, num_passed, num_threads):
    """Waits until every thread of the team is here, after `num_passed` earlier barriers; returns how many it is now.

    The counter only grows: a thread that is late in leaving one barrier can't be confused by the next.
    """
    counter = barrier.ctypes.data
    count_up(counter)
    goal = (num_passed + 1) * num_threads
    spins = 0
    while load_shared(counter) < goal:
        spins += 1
        if spins > _SPINS_BEFORE_YIELD:
            _sched_yield()
    return num_passed + 1


class ThreadTeam:
    """The calling thread is number 0; the others wait for work until `close`. One caller at a time.

    A function that is run takes (thread, num_threads, …), releases the GIL, and ends with a barrier.
    """

    def __init__(self, num_threads: int) -> None:
        self.num_threads = num_threads
        self._work: list[queue.SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]] | None]] = [
            queue.SimpleQueue() for _ in range(num_threads - 1)
        ]
        self._threads = [
            threading.Thread(target=self._follow, args=(i + 1, work), name=f"team-{i + 1}", daemon=True)
            for i, work in enumerate(self._work)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> ThreadTeam:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def run(self, function: Callable[..., None], *arguments: Any) -> None:
        """Returns when all threads have reached the barrier at the function's end."""
        for work in self._work:
            work.put((function, arguments))
        function(0, self.num_threads, *arguments)

    def close(self) -> None:
        for work in self._work:
            work.put(None)
        for thread in self._threads:
            thread.join()

    def _follow(self, number: int, work: queue.SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]] | None]) -> None:
        while (task := work.get()) is not None:
            function, arguments = task
            function(number, self.num_threads, *arguments)
