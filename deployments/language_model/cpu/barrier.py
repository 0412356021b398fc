"""Where the threads of a team wait for each other in the middle of a compiled function."""

from __future__ import annotations

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
