"""The rows of one step.

A row is one (slot, branch, position): decoding is one position a slot, prefill many, through the same code, so that
a resumed generation computes the very same numbers.

One step of everybody who runs: its rows, and who gets a token from which of them.

While nobody joins, leaves or resumes, a step is the one before it one position on: it is moved on in place rather
than made anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deployments.language_model.engine.request import Generation
from deployments.language_model.engine.sampler import SamplingBatch
from deployments.language_model.engine.scheduler import Turn

MAX_TEXT_TOKENS = 2048  # of a prompt; compiled steps set memory aside for this many


@dataclass(frozen=True)
class Place:
    """One position of one slot: its branches are rows `row` … `row + num_branches - 1` of the batch."""

    slot: int
    position: int
    row: int
    num_branches: int


@dataclass(frozen=True)
class Rows:
    """tokens: int64 [M, K]; slots, branches (0 has the text, 1 has none), positions: int64 [M]."""

    tokens: np.ndarray
    slots: np.ndarray
    branches: np.ndarray
    positions: np.ndarray
    places: Sequence[Place]

    def __len__(self) -> int:
        return len(self.tokens)


class Step:
    """M rows of which R are sampled from. All arrays are int64 and stand until `following`.

    slots, branches, positions: [M], as in `Rows`. drawing: the R generations that get a token, with their slots;
    with_text, without_text: [R], their rows, the same one where there is no guidance; drawn: [2 R], both together;
    frames: [R, K], see `sampler`.
    """

    def __init__(self, turns: Sequence[Turn], vocab_size: int) -> None:
        self.turns = turns
        self._firsts = [turn.generation.position for turn in turns]
        index = np.array(
            [
                (turn.slot, branch, first + i)
                for turn, first in zip(turns, self._firsts, strict=True)
                for i in range(turn.num_positions)
                for branch in range(turn.generation.num_branches)
            ]
        )
        self.slots, self.branches, self.positions = np.ascontiguousarray(index.T)
        branches = np.array([turn.generation.num_branches for turn in turns])
        self._repeats = np.repeat(branches, [turn.num_positions for turn in turns])
        ends = np.cumsum(branches * np.array([turn.num_positions for turn in turns]))
        draws = np.array([turn.generation.draws_after(turn.num_positions) for turn in turns])
        drawing = [turn for turn, each in zip(turns, draws, strict=True) if each]
        self.drawing: tuple[tuple[int, Generation], ...] = tuple((turn.slot, turn.generation) for turn in drawing)
        self.with_text, self.without_text = (ends - branches)[draws], (ends - 1)[draws]
        self.drawn = np.concatenate([self.with_text, self.without_text])
        generations = [generation for _, generation in self.drawing]
        self.batch = SamplingBatch.of([g.sampling for g in generations], [g.seed for g in generations], vocab_size)
        delays = np.array(turns[0].generation.delays)
        self.frames = self.positions[self.with_text][:, None] - delays
        self._num_following = 0
        if draws.all() and all(turn.num_positions == 1 for turn in turns):
            self._num_following = min(g.num_steps - g.position for g in generations) - 1

    def advance(self) -> None:
        """Tells the generations that this step is on its way."""
        for turn in self.turns:
            turn.generation.advance(turn.num_positions)

    def following(self) -> bool:
        """Becomes the step after it, for the same generations. False, and unchanged, where that is not this simple."""
        if not self._num_following:
            return False
        self._num_following -= 1
        self.positions += 1
        self.frames += 1
        self._firsts = [first + 1 for first in self._firsts]
        return True

    def rows(self) -> Rows:
        """With the tokens they read, for a decoder that is given them."""
        read = [
            turn.generation.tokens[first : first + turn.num_positions]
            for turn, first in zip(self.turns, self._firsts, strict=True)
        ]
        tokens = np.repeat(np.concatenate(read), self._repeats, axis=0)
        return Rows(tokens, self.slots, self.branches, self.positions, self._places())

    def _places(self) -> list[Place]:
        places, row = [], 0
        for turn, first in zip(self.turns, self._firsts, strict=True):
            for position in range(first, first + turn.num_positions):
                places.append(Place(turn.slot, position, row, turn.generation.num_branches))
                row += turn.generation.num_branches
        return places
