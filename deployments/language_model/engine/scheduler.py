"""Who waits, who runs, in which slot, and what each reads in the next step. Plain Python: no tensors here."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from deployments.language_model.engine.request import Generation
from deployments.language_model.errors import EngineFull


@dataclass(frozen=True)
class Turn:
    """In this step, `generation` in `slot` reads its next `num_positions` positions."""

    generation: Generation
    slot: int
    num_positions: int


class Scheduler:
    """First come, first served, those with priority before the others. A generation holds one slot, and its memory,
    from its admission until it is done or aborted. Nobody overtakes one who waits for memory, unless by priority, so
    whoever fits at all gets in.

    memory_bytes: for all who run at once; None: no limit.
    """

    def __init__(self, num_slots: int, max_waiting: int, memory_bytes: int | None = None) -> None:
        self.num_slots = num_slots
        self.max_waiting = max_waiting
        self.memory_bytes = memory_bytes
        self.waiting: deque[Generation] = deque()
        self.running: dict[int, Generation] = {}
        self._free = list(range(num_slots - 1, -1, -1))
        self._used_bytes = 0

    def __contains__(self, request_id: str) -> bool:
        return any(generation.request_id == request_id for generation in self._everyone())

    @property
    def num_waiting(self) -> int:
        return len(self.waiting)

    @property
    def num_frames_waiting(self) -> int:
        """That are asked of those who wait. To be read in any thread: a tuple of a deque is taken in one go."""
        return sum(generation.num_frames_left for generation in tuple(self.waiting))

    @property
    def num_free(self) -> int:
        return len(self._free)

    def add(self, generation: Generation) -> None:
        """Raises: ValueError for an id in use; EngineFull when `max_waiting` wait beside those who join next, but never
        for one with priority.
        """
        if generation.request_id in self:
            raise ValueError("a request with this id is already here")
        if generation.priority:
            self.waiting.insert(self._num_waiting_first, generation)
            return
        if self.num_waiting >= self.max_waiting + self._num_joining(generation):
            raise EngineFull(
                f"{len(self.running)} of {self.num_slots} slots are taken, {self.num_waiting} requests wait, "
                f"and no more than {self.max_waiting} may wait for a slot"
            )
        self.waiting.append(generation)

    def admit(self) -> Iterator[tuple[int, Generation]]:
        """Move those who wait into free slots, one by one, as long as the first of them fits."""
        while self.waiting and self._free and self._fits(self._used_bytes + self.waiting[0].size_bytes):
            slot, generation = self._free.pop(), self.waiting.popleft()
            self.running[slot] = generation
            self._used_bytes += generation.size_bytes
            yield slot, generation

    def release(self, request_id: str) -> int | None:
        """Forget a request, done or not. Gives the slot it held, or None; unknown ids are nobody's loss."""
        for slot, generation in self.running.items():
            if generation.request_id == request_id:
                del self.running[slot]
                self._free.append(slot)
                self._used_bytes -= generation.size_bytes
                return slot
        self.waiting = deque(g for g in self.waiting if g.request_id != request_id)
        return None

    def plan(self, max_rows: int) -> list[Turn]:
        """One position for everybody who has one left; what is left of `max_rows` goes to those with more to read."""
        reading = [(slot, generation) for slot, generation in self.running.items() if generation.num_readable]
        spare = max_rows - sum(generation.num_branches for _, generation in reading)
        turns = []
        for slot, generation in reading:
            extra = min(generation.num_readable - 1, spare // generation.num_branches)
            spare -= extra * generation.num_branches
            turns.append(Turn(generation, slot, 1 + extra))
        return turns

    def check_integrity(self) -> None:
        """Raises: AssertionError when slots or memory are lost or shared, or a request is here twice."""
        slots = sorted([*self._free, *self.running])
        assert slots == list(range(self.num_slots)), f"slots {slots} are not each there once"
        used_bytes = sum(generation.size_bytes for generation in self.running.values())
        assert self._used_bytes == used_bytes, f"{self._used_bytes} bytes are counted, and {used_bytes} are used"
        assert self._fits(used_bytes), f"{used_bytes} bytes are used, and there are {self.memory_bytes}"
        ids = [generation.request_id for generation in self._everyone()]
        assert len(ids) == len(set(ids)), "a request is here twice"
        assert not any(generation.finished for generation in self._everyone()), "a finished generation holds on"
        first = [generation.priority for generation in self.waiting]
        assert first == sorted(first, reverse=True), "someone waits before one with priority"

    @property
    def _num_waiting_first(self) -> int:
        """Those with priority; they are at the head."""
        return sum(generation.priority for generation in self.waiting)

    def _fits(self, size_bytes: int) -> bool:
        return self.memory_bytes is None or size_bytes <= self.memory_bytes

    def _num_joining(self, newcomer: Generation) -> int:
        """How many of those who wait, and of the newcomer after them, the next step will admit."""
        used_bytes, number = self._used_bytes, 0
        for generation in (*self.waiting, newcomer):
            used_bytes += generation.size_bytes
            if number == self.num_free or not self._fits(used_bytes):
                break
            number += 1
        return number

    def _everyone(self) -> Iterator[Generation]:
        yield from self.running.values()
        yield from self.waiting
