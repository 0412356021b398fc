"""One step of all running requests: its rows, and which of the requests draw a token.

A row is one (slot, branch, position): decoding is one position a slot, prefill many, through the same code, so that
a resumed request computes the very same numbers.

While no request joins, leaves or resumes, a step is the one before it one position on: it is changed in place rather
than built anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deployments.language_model.engine.request import EngineRequest
from deployments.language_model.engine.sampler import SamplingBatch
from deployments.language_model.engine.scheduler import ScheduledRequest

MAX_TEXT_TOKENS = 2048  # of a prompt; compiled steps set memory aside for this many


@dataclass(frozen=True)
class SlotPosition:
    """One position of one slot: its branches are rows `row` … `row + num_branches - 1` of the batch."""

    slot: int
    position: int
    row: int
    num_branches: int


@dataclass(frozen=True)
class Rows:
    """What a step reads, row by row.

    Attributes:
        tokens: int64 [M, K].
        slots, branches (0 has the text, 1 has none), positions: int64 [M].
    """

    tokens: np.ndarray
    slots: np.ndarray
    branches: np.ndarray
    positions: np.ndarray
    slot_positions: Sequence[SlotPosition]

    def __len__(self) -> int:
        return len(self.tokens)


class Step:
    """M rows of which R are sampled from. All arrays are int64 and valid until `become_next`.

    Attributes:
        slots, branches, positions: [M], as in `Rows`.
        drawing: the R requests that get a token, with their slots.
        with_text, without_text: [R], their rows, the same one where there is no guidance.
        drawn: [2 R], both together.
        frames: [R, K], see `sampler`.
    """

    def __init__(self, scheduled: Sequence[ScheduledRequest], vocab_size: int) -> None:
        self.scheduled = scheduled
        self._firsts = [each.request.position for each in scheduled]
        index = np.array(
            [
                (each.slot, branch, first + i)
                for each, first in zip(scheduled, self._firsts, strict=True)
                for i in range(each.num_positions)
                for branch in range(each.request.num_branches)
            ]
        )
        self.slots, self.branches, self.positions = np.ascontiguousarray(index.T)
        branches = np.array([each.request.num_branches for each in scheduled])
        self._repeats = np.repeat(branches, [each.num_positions for each in scheduled])
        ends = np.cumsum(branches * np.array([each.num_positions for each in scheduled]))
        draws = np.array([each.request.draws_after(each.num_positions) for each in scheduled])
        self.drawing: tuple[tuple[int, EngineRequest], ...] = tuple(
            (each.slot, each.request) for each, has_draw in zip(scheduled, draws, strict=True) if has_draw
        )
        self.with_text, self.without_text = (ends - branches)[draws], (ends - 1)[draws]
        self.drawn = np.concatenate([self.with_text, self.without_text])
        requests = [request for _, request in self.drawing]
        self.batch = SamplingBatch.of([r.sampling for r in requests], [r.seed for r in requests], vocab_size)
        delays = np.array(scheduled[0].request.delays)
        self.frames = self.positions[self.with_text][:, None] - delays
        self._num_simple_steps = 0  # after this one
        if draws.all() and all(each.num_positions == 1 for each in scheduled):
            self._num_simple_steps = min(each.num_steps - each.position for each in requests) - 1

    def advance(self) -> None:
        """Tells the requests that this step is on its way."""
        for each in self.scheduled:
            each.request.advance(each.num_positions)

    def become_next(self) -> bool:
        """Becomes the step after it, for the same requests. False, and unchanged, where that is not this simple."""
        if not self._num_simple_steps:
            return False
        self._num_simple_steps -= 1
        self.positions += 1
        self.frames += 1
        self._firsts = [first + 1 for first in self._firsts]
        return True

    def rows(self) -> Rows:
        """With the tokens they read, for a decoder that is given them."""
        read = [
            each.request.tokens[first : first + each.num_positions]
            for each, first in zip(self.scheduled, self._firsts, strict=True)
        ]
        tokens = np.repeat(np.concatenate(read), self._repeats, axis=0)
        return Rows(tokens, self.slots, self.branches, self.positions, self._slot_positions())

    def _slot_positions(self) -> list[SlotPosition]:
        slot_positions, row = [], 0
        for each, first in zip(self.scheduled, self._firsts, strict=True):
            for position in range(first, first + each.num_positions):
                slot_positions.append(SlotPosition(each.slot, position, row, each.request.num_branches))
                row += each.request.num_branches
        return slot_positions
