"""Operands for the kernels and for plain torch: the same numbers for both, at the edges of pages, splits and blocks."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from deployments.language_model.config import DecoderConfig
from deployments.language_model.gpu.operations import Operations
from deployments.language_model.gpu.reference import ReferenceOperations
from deployments.language_model.gpu.state import NOBODY, PAGE, Plan, State
from tests.deployments.language_model.random_decoder import CONFIG

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
OUT_OF_BOUNDS = "outside of the kernel's tensors"

# Small, and nothing in it fills the kernels' blocks.
ODD = replace(CONFIG, num_codebooks=3, vocab_size=80, width=48, num_heads=3, ffn_width=80, activation="relu")

MAX_ROWS, MAX_POSITIONS = 32, 5 * PAGE
TEXT_LENGTHS = [0, 1, PAGE, PAGE + 1, 2 * PAGE + 30]  # of each slot
NUM_SLOTS = len(TEXT_LENGTHS)
EMPTY = (NUM_SLOTS, 0, 0)  # a row that fills a step up to its bucket
# (slot, branch, position): around the ends of pages (64) and splits (128), with positions of one generation in a row.
ROWS = [
    (0, 0, 0),
    (1, 0, 62),
    (1, 1, 62),
    (1, 0, 63),
    (1, 1, 63),
    (1, 0, 64),
    (1, 1, 64),
    (2, 0, 126),
    (0, 1, 127),
    (2, 0, 127),
    (2, 0, 128),
    (3, 0, 129),
    EMPTY,
    (3, 1, 191),
    (4, 0, 255),
    (4, 1, 256),
    (4, 0, MAX_POSITIONS - 1),
    EMPTY,
]
OCCUPIED = [row for row, each in enumerate(ROWS) if each != EMPTY]


@dataclass(frozen=True)
class Pair:
    """The kernels, and plain torch. compute: what is multiplied, and kept as keys and values."""

    kernels: Operations
    reference: Operations
    compute: torch.dtype
    config: DecoderConfig

    @classmethod
    def of(cls, config: DecoderConfig, compute: torch.dtype) -> Pair:
        from deployments.language_model.gpu.triton_operations import TritonOperations

        kernels = TritonOperations(config, compute, MAX_ROWS, MAX_POSITIONS, DEVICE)
        return cls(kernels, ReferenceOperations(compute), compute, config)

    def run_both(self, run: Callable[[Operations], Tensor]) -> tuple[Tensor, Tensor]:
        return run(self.kernels), run(self.reference)

    def assert_near(self, ours: Tensor, theirs: Tensor) -> None:
        """bfloat16: what is multiplied may round to the next number."""
        exact = self.compute == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=1e-4 if exact else 2e-2, atol=1e-4 if exact else 2e-2)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def unwritten(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """What is left of it fails every comparison."""
    return torch.full(shape, torch.nan, dtype=dtype, device=DEVICE)


def full_state(config: DecoderConfig, compute: torch.dtype, seed: int = 0) -> State:
    """Slots with pages in no order, full of numbers. Each position reads tokens, pads too."""
    generator = torch.Generator().manual_seed(seed)
    each = MAX_POSITIONS // PAGE
    num_pages = NUM_SLOTS * 3 * each
    state = State(config, NUM_SLOTS, MAX_POSITIONS, num_pages, compute, DEVICE)
    state.cache.copy_(torch.randn(state.cache.shape, generator=generator))
    pages = torch.randperm(num_pages, generator=generator).view(NUM_SLOTS, 3, each) + 1
    state.table[:NUM_SLOTS, :, :each] = pages.int().to(DEVICE)
    state.text_lengths[:NUM_SLOTS] = torch.tensor(TEXT_LENGTHS, dtype=torch.int32, device=DEVICE)
    state.tokens.copy_(torch.randint(0, config.pad_token + 1, state.tokens.shape, generator=generator))
    return state


def plan_fields(rows: Sequence[tuple[int, int, int]], draws: Sequence[tuple[int, int]] = ()) -> Tensor:
    """int32 [Plan.NUM_FIELDS, M]. rows: (slot, branch, position) each. draws: (row with text, row without)."""
    fields = torch.full((Plan.NUM_FIELDS, len(rows)), NOBODY, dtype=torch.int32)
    fields[:3] = torch.tensor(rows).T
    if draws:
        fields[3:, : len(draws)] = torch.tensor(draws).T
    return fields.to(DEVICE)


def plan_of(rows: Sequence[tuple[int, int, int]], draws: Sequence[tuple[int, int]] = ()) -> Plan:
    return Plan.view(plan_fields(rows, draws), len(rows))
