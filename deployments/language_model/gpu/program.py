"""One step of M rows, whole: from what each position reads to the tokens drawn, over buffers that never move.

On a GPU each pair of a number of rows and of positions is captured once as a CUDA graph, and then replayed: nothing is
allocated, nothing waits, and the host's work for a step is three calls.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from deployments.language_model.config import DecoderConfig
from deployments.language_model.gpu.matrix import Matrices
from deployments.language_model.gpu.operations import Operations
from deployments.language_model.gpu.state import NOBODY, Plan, State

FEWEST_POSITIONS = 128


def buckets(most: int, fewest: int = 1) -> list[int]:
    """Doubling from the fewest on; the last is at least the most."""
    sizes = [fewest]
    while sizes[-1] < most:
        sizes.append(2 * sizes[-1])
    return sizes


class Program:
    """plan: int32 [Plan.NUM_FIELDS, max_rows], what the next step is told: see `Plan.view`.

    guided: float32 [max_rows, K, V]; drawn: int32 [max_rows, K]: of the last step.
    """

    def __init__(
        self,
        config: DecoderConfig,
        matrices: Matrices,
        positions: Tensor,
        operations: Operations,
        state: State,
        max_rows: int,
    ) -> None:
        """positions: float32 [the most, D], of the embedding."""
        self.row_buckets = buckets(max_rows)
        self.position_buckets = buckets(len(positions), FEWEST_POSITIONS)
        device, compute, rows = positions.device, state.cache.dtype, self.row_buckets[-1]
        self.plan = torch.zeros(Plan.NUM_FIELDS, rows, dtype=torch.int32, device=device)
        self.guided = torch.zeros(rows, config.num_codebooks, config.vocab_size, device=device)
        self.drawn = torch.zeros(rows, config.num_codebooks, dtype=torch.int32, device=device)
        self._config = config
        self._matrices = matrices
        self._positions = positions
        self._operations = operations
        self._state = state
        self._residual = torch.zeros(rows, config.width, device=device)
        self._queries, self._attended = (torch.zeros_like(self._residual, dtype=compute) for _ in range(2))
        self._inner = torch.zeros(rows, config.ffn_width, dtype=compute, device=device)
        self._logits = torch.zeros(rows, config.num_codebooks * config.vocab_size, device=device)
        self._graphs = dict(self._capture()) if device.type == "cuda" else {}

    def run(self, num_rows: int, num_positions: int) -> None:
        """For what `plan` says. Both are of the buckets."""
        if self._graphs:
            self._graphs[num_rows, num_positions].replay()
        else:
            self._compute(num_rows, num_positions)

    def _capture(self) -> Iterator[tuple[tuple[int, int], torch.cuda.CUDAGraph]]:
        """The first run of each compiles what is new in it, which a capture must not."""
        pool = None
        for num_rows in self.row_buckets:
            fields = Plan.view(self.plan, num_rows)
            for field, nobody in zip(
                (fields.slots, fields.branches, fields.positions, fields.with_text, fields.without_text),
                (len(self._state.text_lengths) - 1, 0, 0, NOBODY, NOBODY),
                strict=True,
            ):
                field.fill_(nobody)
            for num_positions in self.position_buckets:
                self._compute(num_rows, num_positions)
                torch.cuda.synchronize()
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, pool=pool):
                    self._compute(num_rows, num_positions)
                pool = graph.pool()
                yield (num_rows, num_positions), graph

    def _compute(self, num_rows: int, num_positions: int) -> None:
        run, state, matrices = self._operations, self._state, self._matrices
        plan = Plan.view(self.plan, num_rows)
        x, queries, attended, inner, logits, guided, drawn = (
            buffer[:num_rows]
            for buffer in (
                self._residual,
                self._queries,
                self._attended,
                self._inner,
                self._logits,
                self.guided,
                self.drawn,
            )
        )
        run.embed(plan, state, matrices.embedding, self._positions, x)
        for i, layer in enumerate(matrices.layers):
            run.keys_and_values(x, layer.self_norm, layer.self_qkv, plan, state, i, queries)
            run.attend(queries, plan, state, i, num_positions, attended)
            run.added_product(attended, layer.self_out, x)
            run.normed_product(x, layer.cross_norm, layer.cross_q, queries, None)
            run.attend_text(queries, plan, state, i, attended)
            run.added_product(attended, layer.cross_out, x)
            run.normed_product(x, layer.ffn_norm, layer.ffn_in, inner, self._config.activation)
            run.added_product(inner, layer.ffn_out, x)
        run.normed_product(x, matrices.final_norm, matrices.heads, logits, None)
        run.draw(logits, plan, state, guided, drawn)
