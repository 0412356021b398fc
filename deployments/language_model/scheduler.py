"""Who waits, who runs, in which slot, and what each reads in the next step. Plain Python: no tensors here."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from deployments.language_model.generation import Generation


class EngineFull(Exception):
    """No more requests can wait here."""


@dataclass(frozen=True)
class Turn:
    """In this step, `generation` in `slot` reads its next `num_positions` positions."""

    generation: Generation
    slot: int
    num_positions: int


class Scheduler:
    """First come, first served. A generation holds one slot from its admission until it is done or aborted."""

    def __init__(self, num_slots: int, max_waiting: int) -> None:
        self.num_slots = num_slots
        self.max_waiting = max_waiting
        self.waiting: deque[Generation] = deque()
        self.running: dict[int, Generation] = {}
        self._free = list(range(num_slots - 1, -1, -1))

    def __contains__(self, request_id: str) -> bool:
        return any(generation.request_id == request_id for generation in self._everyone())

    @property
    def num_waiting(self) -> int:
        return len(self.waiting)

    @property
    def num_free(self) -> int:
        return len(self._free)

    def add(self, generation: Generation) -> None:
        """Raises: EngineFull when `max_waiting` wait already and no slot is free; ValueError for an id in use."""
        if generation.request_id in self:
            raise ValueError("a request with this id is already here")
        if self.num_waiting >= self.max_waiting + self.num_free:
            raise EngineFull(
                f"{len(self.running)} of {self.num_slots} slots are taken, {self.num_waiting} requests wait, "
                f"and no more than {self.max_waiting} may wait for a slot"
            )
        self.waiting.append(generation)

    def admit(self) -> Iterator[tuple[int, Generation]]:
        """Move those who wait into free slots, one by one."""
        while self.waiting and self._free:
            slot, generation = self._free.pop(), self.waiting.popleft()
            self.running[slot] = generation
            yield slot, generation

    def release(self, request_id: str) -> int | None:
        """Forget a request, done or not. Gives the slot it held, or None; unknown ids are nobody's loss."""
        for slot, generation in self.running.items():
            if generation.request_id == request_id:
                del self.running[slot]
                self._free.append(slot)
                return slot
        self.waiting = deque(g for g in self.waiting if g.request_id != request_id)
        return None

    def plan(self, max_rows: int) -> list[Turn]:
        """One position for everybody who runs; what is left of `max_rows` goes to those who have more to read."""
        spare = max_rows - sum(generation.num_branches for generation in self.running.values())
        turns = []
        for slot, generation in self.running.items():
            extra = min(generation.num_readable - 1, spare // generation.num_branches)
            spare -= extra * generation.num_branches
            turns.append(Turn(generation, slot, 1 + extra))
        return turns

    def check_integrity(self) -> None:
        """Raises: AssertionError when slots are lost or shared, or a request is here twice."""
        slots = sorted([*self._free, *self.running])
        assert slots == list(range(self.num_slots)), f"slots {slots} are not each there once"
        ids = [generation.request_id for generation in self._everyone()]
        assert len(ids) == len(set(ids)), "a request is here twice"
        assert not any(generation.finished for generation in self._everyone()), "a finished generation holds on"

    def _everyone(self) -> Iterator[Generation]:
        yield from self.running.values()
        yield from self.waiting
