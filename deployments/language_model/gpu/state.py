"""What the slots hold on the device, and what one step is told. Allocated once; nothing moves.

Slot `num_slots` is nobody's: the rows that fill a step up to its bucket belong to it, and write to the spare page.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deployments.language_model.config import DecoderConfig
from deployments.language_model.engine.step import MAX_TEXT_TOKENS
from deployments.language_model.gpu.pages import PAGE, SPARE

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
