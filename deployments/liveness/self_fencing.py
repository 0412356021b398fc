"""Self-fencing: whether a replica may still take its requests for its own.

Whoever reads a request's frames goes to another replica after some silence. A replica that was suspended (SIGSTOP, a
machine that slept, an event loop held up) can't know whether that has happened. So when it was silent for longer than a
lease, which is shorter than that silence, it gives up all its requests before its next step: else they would be made
twice.

The event loop renews the lease, because it alone sends anything; the thread that computes steps looks at it. A renewal
that comes too late has the requests given up *before* the lease holds again. So a thread that first looks at the lease
and then at its commands either sees that the lease has expired or finds the command to give up. (A step that was under
way when the replica was suspended is finished.) While the thread is busy with a step, however long, renewals go on.
"""

from __future__ import annotations

from collections.abc import Callable

from deployments.liveness.timings import TIMINGS, uptime_s


class SelfFencing:
    """`renew` is called by one thread, the event loop's; `expired` by any.

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
