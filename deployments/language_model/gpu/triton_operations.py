"""The operations as launches of the Triton kernels. Imported on a GPU only, or under Triton's interpreter."""

from __future__ import annotations

import torch
import triton  # type: ignore[import-not-found,import-untyped,unused-ignore]
import triton.language as tl  # type: ignore[import-not-found,import-untyped,unused-ignore]
from torch import Tensor

from deployments.language_model.config import DecoderConfig
from deployments.language_model.gpu import draws, kernels
from deployments.language_model.gpu import product as products
from deployments.language_model.gpu.matrix import ROWS, Matrix, Norm, Tile, tile_of
from deployments.language_model.gpu.state import PAGE, TEXT, Plan, State

SPLIT = 2 * PAGE  # positions of one program of attention
EMBED_BLOCK = 256
DRAW_WARPS = 8


class TritonOperations:
    """compute: the type of what is multiplied. max_rows, max_positions: the most of a step. tiles: of products of these
    (outputs, inputs), where they differ from `tile_of`'s.
    """

    def __init__(
        self,
        config: DecoderConfig,
        compute: torch.dtype,
        max_rows: int,
        max_positions: int,
        device: str,
        tiles: dict[tuple[int, int], Tile] | None = None,
    ) -> None:
        if config.head_width & (config.head_width - 1) or config.head_width < 16:
            raise ValueError(f"heads of {config.head_width} are not of 16, 32, 64 …, as the GPU's kernels need")
        self._config = config
        self._compute = tl.bfloat16 if compute == torch.bfloat16 else tl.float32
        self._tiles = tiles or {}
        self._splits = triton.next_power_of_2(triton.cdiv(max_positions, SPLIT))
        partial = max_rows, config.num_heads, self._splits, config.head_width + 2
        self._partial = torch.zeros(partial, device=device)
        self._arrivals = torch.zeros(max_rows, config.num_heads, dtype=torch.int32, device=device)
        self._nothing = torch.zeros(1, dtype=torch.int32, device=device)

    def embed(self, plan: Plan, state: State, embedding: Tensor, positions: Tensor, x: Tensor) -> None:
        kernels.embed[(len(x), triton.cdiv(self._config.width, EMBED_BLOCK))](
            state.tokens,
            plan.slots,
            plan.positions,
            embedding,
            positions,
            x,
            TOKENS_SLOT=state.tokens.stride(0),
            CODEBOOKS=self._config.num_codebooks,
            VOCABULARY=self._config.vocab_size + 1,
            WIDTH=self._config.width,
            BLOCK=EMBED_BLOCK,
        )

    def normed_product(self, x: Tensor, norm: Norm, matrix: Matrix, out: Tensor, activation: str | None) -> None:
        self._product(x, matrix, out, norm=norm, activation=activation)

    def keys_and_values(
        self, x: Tensor, norm: Norm, matrix: Matrix, plan: Plan, state: State, layer: int, queries: Tensor
    ) -> None:
        self._product(x, matrix, queries, norm=norm, into=(plan, state, layer))

    def added_product(self, x: Tensor, matrix: Matrix, residual: Tensor) -> None:
        self._product(x, matrix, residual, added=True)

    def attend(
        self, queries: Tensor, plan: Plan, state: State, layer: int, num_positions: int, attended: Tensor
    ) -> None:
        config = self._config
        kernels.attend[(len(queries), config.num_heads, triton.cdiv(num_positions, SPLIT))](
            queries,
            plan.slots,
            plan.branches,
            plan.positions,
            state.table,
            state.cache[layer],
            self._partial,
            self._arrivals,
            attended,
            config.head_width**-0.5,
            HEADS=config.num_heads,
            HEAD_WIDTH=config.head_width,
            PAGE=PAGE,
            SPLIT=SPLIT,
            SPLITS=self._splits,
            TABLE_SLOT=state.table.stride(0),
            TABLE_ROW=state.table.stride(1),
            num_warps=4,
        )

    def attend_text(self, queries: Tensor, plan: Plan, state: State, layer: int, attended: Tensor) -> None:
        config = self._config
        kernels.attend_text[(len(queries), config.num_heads)](
            queries,
            plan.slots,
            plan.branches,
            state.text_lengths,
            state.table,
            state.cache[layer],
            attended,
            config.head_width**-0.5,
            HEADS=config.num_heads,
            HEAD_WIDTH=config.head_width,
            PAGE=PAGE,
            SPLIT=PAGE,
            TABLE_SLOT=state.table.stride(0),
            TABLE_ROW=state.table.stride(1),
            TEXT=TEXT,
            num_warps=2,
        )

    def draw(self, logits: Tensor, plan: Plan, state: State, guided: Tensor, drawn: Tensor) -> None:
        config = self._config
        draws.draw[(len(logits), config.num_codebooks)](
            logits,
            plan.slots,
            plan.positions,
            plan.with_text,
            plan.without_text,
            state.delays,
            state.guidance,
            state.temperature,
            state.greedy,
            state.top_k,
            state.tail,
            state.seeds,
            state.tokens,
            guided,
            drawn,
            CODEBOOKS=config.num_codebooks,
            VOCABULARY=config.vocab_size,
            BLOCK=triton.next_power_of_2(config.vocab_size),
            TOKENS_SLOT=state.tokens.stride(0),
            num_warps=DRAW_WARPS,
        )

    def _product(
        self,
        x: Tensor,
        matrix: Matrix,
        out: Tensor,
        *,
        norm: Norm | None = None,
        activation: str | None = None,
        added: bool = False,
        into: tuple[Plan, State, int] | None = None,
    ) -> None:
        num_outputs, num_inputs = matrix.weight.shape
        tile = self._tiles.get((num_outputs, num_inputs)) or tile_of(num_outputs, num_inputs)
        nothing, config = self._nothing, self._config
        plan, state, layer = into or (None, None, 0)
        products.product[(triton.cdiv(len(x), ROWS), num_outputs // tile.outputs)](
            x,
            matrix.weight,
            nothing if matrix.scales is None else matrix.scales,
            norm.weight if norm else nothing,
            norm.bias if norm else nothing,
            out,
            plan.slots if plan else nothing,
            plan.branches if plan else nothing,
            plan.positions if plan else nothing,
            state.table if state else nothing,
            state.cache[layer] if state else nothing,
            len(x),
            INPUTS=num_inputs,
            OUTPUTS=num_outputs,
            NORMED=norm is not None,
            SCALED=matrix.scales is not None,
            ADDED=added,
            ACTIVATION=activation or "",
            CACHED=into is not None,
            COMPUTE=self._compute,
            ROWS=ROWS,
            TILE_OUTPUTS=tile.outputs,
            TILE_INPUTS=tile.inputs,
            HEADS=config.num_heads,
            HEAD_WIDTH=config.head_width,
            PAGE=PAGE,
            TABLE_SLOT=state.table.stride(0) if state else 0,
            TABLE_ROW=state.table.stride(1) if state else 0,
            num_warps=tile.warps,
            num_stages=tile.stages,
        )
