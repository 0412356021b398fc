"""Which requests wait, which run in which slot, and what each reads in the next step. Plain Python, no tensors."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from deployments.language_model.engine.request import EngineRequest
from deployments.language_model.errors import EngineFull


@dataclass(frozen=True)
class ScheduledRequest:
    """In this step `request`, in `slot`, reads its next `num_positions` positions."""

    request: EngineRequest
    slot: int
    num_positions: int


class Scheduler:
    """First come, first served, those with priority before the others.

    A request holds one slot, and its memory, from its admission until it is done or aborted. None overtakes one that
    waits for memory, unless by priority, so every request that fits at all gets in.

    Args:
        memory_bytes: for all that run at once; None: no limit.
    """

    def __init__(self, num_slots: int, max_waiting: int, memory_bytes: int | None = None) -> None:
        self.num_slots = num_slots
        self.max_waiting = max_waiting
        self.memory_bytes = memory_bytes
        self.waiting: deque[EngineRequest] = deque()
        self.running: dict[int, EngineRequest] = {}
        self._free = list(range(num_slots - 1, -1, -1))
        self._used_bytes = 0

    def __contains__(self, request_id: str) -> bool:
        return any(request.request_id == request_id for request in self._all())

    @property
    def num_waiting(self) -> int:
        return len(self.waiting)

    @property
    def num_frames_waiting(self) -> int:
        """Of the requests that wait. May be read in any thread: a tuple of a deque is made in one go."""
        return sum(request.num_frames_left for request in tuple(self.waiting))

    @property
    def num_free(self) -> int:
        return len(self._free)

    def add(self, request: EngineRequest) -> None:
        """Queues a request. One with priority is never refused.

        Raises:
            ValueError: For an id in use.
            EngineFull: When `max_waiting` wait beside those that join next.
        """
        if request.request_id in self:
            raise ValueError("a request with this id is already here")
        if request.priority:
            self.waiting.insert(self._num_with_priority, request)
            return
        if self.num_waiting >= self.max_waiting + self._num_joining(request):
            raise EngineFull(
                f"{len(self.running)} of {self.num_slots} slots are taken, {self.num_waiting} requests wait, "
                f"and no more than {self.max_waiting} may wait for a slot"
            )
        self.waiting.append(request)

    def admit(self) -> Iterator[tuple[int, EngineRequest]]:
        """Moves waiting requests into free slots, one by one, as long as the first of them fits."""
        while self.waiting and self._free and self._fits(self._used_bytes + self.waiting[0].size_bytes):
            slot, request = self._free.pop(), self.waiting.popleft()
            self.running[slot] = request
            self._used_bytes += request.size_bytes
            yield slot, request

    def release(self, request_id: str) -> int | None:
        """Forgets a request, done or not. Returns the slot it held, or None; an unknown id is no error."""
        for slot, request in self.running.items():
            if request.request_id == request_id:
                del self.running[slot]
                self._free.append(slot)
                self._used_bytes -= request.size_bytes
                return slot
        self.waiting = deque(g for g in self.waiting if g.request_id != request_id)
        return None

    def schedule(self, max_rows: int) -> list[ScheduledRequest]:
        """One position for each that has one left; what is left of `max_rows` goes to those with more to read."""
        reading = [(slot, request) for slot, request in self.running.items() if request.num_readable]
        spare = max_rows - sum(request.num_branches for _, request in reading)
        scheduled = []
        for slot, request in reading:
            extra = min(request.num_readable - 1, spare // request.num_branches)
            spare -= extra * request.num_branches
            scheduled.append(ScheduledRequest(request, slot, 1 + extra))
        return scheduled

    def check_integrity(self) -> None:
        """Checks slots, memory and requests.

        Raises:
            AssertionError: When slots or memory are lost or shared, or a request is here twice.
        """
        slots = sorted([*self._free, *self.running])
        assert slots == list(range(self.num_slots)), f"slots {slots} are not each there once"
        used_bytes = sum(request.size_bytes for request in self.running.values())
        assert self._used_bytes == used_bytes, f"{self._used_bytes} bytes are counted, and {used_bytes} are used"
        assert self._fits(used_bytes), f"{used_bytes} bytes are used, and there are {self.memory_bytes}"
        ids = [request.request_id for request in self._all()]
        assert len(ids) == len(set(ids)), "a request is here twice"
        assert not any(request.finished for request in self._all()), "a finished request holds on"
        first = [request.priority for request in self.waiting]
        assert first == sorted(first, reverse=True), "a request waits before one with priority"

    @property
    def _num_with_priority(self) -> int:
        """Waiting requests with priority; they are at the head."""
        return sum(request.priority for request in self.waiting)

    def _fits(self, size_bytes: int) -> bool:
        return self.memory_bytes is None or size_bytes <= self.memory_bytes

    def _num_joining(self, newcomer: EngineRequest) -> int:
        """How many of those that wait, and of the newcomer after them, the next step will admit."""
        used_bytes, number = self._used_bytes, 0
        for request in (*self.waiting, newcomer):
            used_bytes += request.size_bytes
            if number == self.num_free or not self._fits(used_bytes):
                break
            number += 1
        return number

    def _all(self) -> Iterator[EngineRequest]:
        yield from self.running.values()
        yield from self.waiting
