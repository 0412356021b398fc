"""One whole step, by the decoder's own program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deployments.language_model.gpu.matrix import Matrices
from deployments.language_model.gpu.operations import Operations
from deployments.language_model.gpu.program import Program
from deployments.language_model.gpu.state import Plan
from deployments.language_model.model import sinusoidal_positions
from tests.deployments.language_model.gpu.kernels.cases import (
    DEVICE,
    EMPTY,
    MAX_POSITIONS,
    NUM_SLOTS,
    ODD,
    Pair,
    full_state,
    plan_fields,
)
from tests.deployments.language_model.gpu.kernels.comparisons import SAMPLINGS, set_sampling
from tests.deployments.language_model.random_decoder import CONFIG, random_weights

EVEN = replace(CONFIG, width=64, ffn_width=64, vocab_size=64)
SHORT = replace(ODD, num_layers=1)
SMALL = replace(EVEN, num_layers=1, num_codebooks=2, vocab_size=40)
# One generation that goes on with guidance, one without; one that reads several positions; and what fills the bucket.
ROWS = [(1, 0, 128), (1, 1, 128), (0, 0, 5), (4, 0, 62), (4, 0, 63), (4, 0, 64), (4, 0, 65), EMPTY]
DRAWS = [(0, 1), (2, 2), (6, 6)]


class Step:
    """plan: what it was told; logits: [M, K · V]; guided, drawn: of the draws; state: what the slots hold after it."""

    def __init__(
        self,
        pair: Pair,
        operations: Operations,
        dtype: str,
        rows: Sequence[tuple[int, int, int]] = ROWS,
        draws: Sequence[tuple[int, int]] = DRAWS,
    ) -> None:
        config, num_rows = pair.config, len(rows)
        weights = random_weights(config, "bfloat16" if dtype == "bfloat16" else "float32", device=DEVICE)
        positions = sinusoidal_positions(MAX_POSITIONS, config.width).to(DEVICE)
        self.state = full_state(config, pair.compute)
        for slot in range(NUM_SLOTS):
            set_sampling(self.state, pair, slot, SAMPLINGS[slot], seed=slot)
        program = Program(config, Matrices.of(weights, dtype), positions, operations, self.state, num_rows)
        program.plan.copy_(plan_fields(rows, draws))
        program.run(num_rows, 256)
        self.plan, self.logits = Plan.view(program.plan, num_rows), program._logits
        self.guided, self.drawn = program.guided[: len(draws)], program.drawn[: len(draws)]
