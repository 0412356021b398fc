"""What the slots hold on the device: pages of keys and values, and the buffers of a step.

All is allocated once; nothing moves. Slot `num_slots` is nobody's: the rows that fill a step up to its bucket belong to
it, and write to the spare page.

`Pages` says which page belongs to whom. A page holds the keys and values of all layers at PAGE positions of one branch
of a generation, or at PAGE tokens of its text. What a generation will need is known when it is admitted, and taken
then: nobody is ever sent back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deployments.language_model.config import DecoderConfig
from deployments.language_model.engine.step import MAX_TEXT_TOKENS

PAGE = 64  # positions
SPARE = 0  # the page that rows of nobody write to


def pages_of(num_positions: int, num_branches: int, num_text_tokens: int) -> int:
    """Pages a generation takes from its admission to its end."""
    return num_branches * -(-num_positions // PAGE) + -(-num_text_tokens // PAGE)


class Pages:
    """num_pages: that can be taken; SPARE is one more."""

    def __init__(self, num_pages: int) -> None:
        self.num_pages = num_pages
        self._free = list(range(num_pages, SPARE, -1))
        self._taken: dict[int, list[int]] = {}

    def take(self, slot: int, number: int) -> list[int]:
        """Raises: MemoryError when there are not as many: whoever admits counts them before."""
        if slot in self._taken:
            raise RuntimeError(f"slot {slot} has its pages already")
        if number > len(self._free):
            raise MemoryError(f"{number} pages are wanted, and {len(self._free)} are free")
        pages = [self._free.pop() for _ in range(number)]
        self._taken[slot] = pages
        return pages

    def give_back(self, slot: int) -> None:
        self._free += self._taken.pop(slot)

    def check_integrity(self, slots: set[int]) -> None:
        """slots: those in use. Raises: AssertionError when others hold pages, or a page is lost or shared."""
        assert set(self._taken) == slots, f"slots {set(self._taken) ^ slots} hold pages and are free, or hold none"
        pages = sorted([*self._free, *(page for pages in self._taken.values() for page in pages)])
        assert pages == list(range(SPARE + 1, self.num_pages + 1)), "a page is lost or shared"


TEXT = 2  # the row of a slot's table after those of its branches
NOBODY = -1


@dataclass(frozen=True)
class Plan:
    """What a step of M rows is told, each int32 [M].

    slots, branches, positions: as in `Rows`. with_text, without_text: the rows of each draw; NOBODY after the last.
    """

    slots: Tensor
    branches: Tensor
    positions: Tensor
    with_text: Tensor
    without_text: Tensor

    NUM_FIELDS = 5

    @classmethod
    def view(cls, fields: Tensor, num_rows: int) -> Plan:
        """Of the first rows of [NUM_FIELDS, at least as many]."""
        return cls(*fields[:, :num_rows].unbind())


class State:
    """cache: [layers, 1 + pages, 2 (key, value), H, PAGE, D/H]. table: int32 [slots + 1, 3, P], the pages of a slot's
    branches and of its text, in order. text_lengths: int32 [slots + 1]. tokens: int32 [slots + 1, positions + 1, K],
    what each position reads, negative where nothing has been drawn yet.

    Of the draws: guidance, temperature, tail (1 - top_p; 0: off): float32; greedy, top_k: int32; seeds: int64, each
    [slots + 1]. delays: int32 [K].
    """

    def __init__(
        self,
        config: DecoderConfig,
        num_slots: int,
        max_positions: int,
        num_pages: int,
        dtype: torch.dtype,
        device: str,
    ) -> None:
        shape = (config.num_layers, 1 + num_pages, 2, config.num_heads, PAGE, config.head_width)
        pages_a_row = -(-max(max_positions, MAX_TEXT_TOKENS) // PAGE)
        self.cache = torch.zeros(shape, dtype=dtype, device=device)
        slots = num_slots + 1
        self.table = torch.full((slots, TEXT + 1, pages_a_row), SPARE, dtype=torch.int32, device=device)
        self.text_lengths = torch.zeros(slots, dtype=torch.int32, device=device)
        width = max_positions + 1, config.num_codebooks
        self.tokens = torch.full((slots, *width), config.pad_token, dtype=torch.int32, device=device)
        self.guidance, self.temperature = (torch.ones(slots, device=device) for _ in range(2))
        self.tail = torch.zeros(slots, device=device)
        self.greedy, self.top_k = (torch.ones(slots, dtype=torch.int32, device=device) for _ in range(2))
        self.seeds = torch.zeros(slots, dtype=torch.int64, device=device)
        self.delays = torch.tensor(config.delays, dtype=torch.int32, device=device)


def upload(target: Tensor, values: np.ndarray) -> None:
    """In the order of the device's work, and without waiting for it: from memory it can read by itself."""
    source = torch.from_numpy(np.array(values))  # a copy: what came through Ray's object store is read-only
    if target.is_cuda:
        source = source.pin_memory()
    target.copy_(source, non_blocking=True)
