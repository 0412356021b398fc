"""What a step is made of: the contract of `reference` (plain torch) and `triton_operations`.

M rows. Residuals x and logits are float32; what is multiplied with weights has the compute type, bfloat16 or float32,
and is summed in float32. Each row's numbers are a function of that row: of its position, never of M or of its place.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from deployments.language_model.gpu.matrix import Matrix, Norm
from deployments.language_model.gpu.state import Plan, State


class Operations(Protocol):
    def embed(self, plan: Plan, state: State, embedding: Tensor, positions: Tensor, x: Tensor) -> None:
        """Writes x [M, D]: the embeddings of what each row's position reads, and of the position."""
        ...

    def normed_product(self, x: Tensor, norm: Norm, matrix: Matrix, out: Tensor, activation: str | None) -> None:
        """Writes out [M, N] = activation(norm(x) · matrixᵀ), in out's type. activation: gelu, relu or None."""
        ...

    def keys_and_values(
        self, x: Tensor, norm: Norm, matrix: Matrix, plan: Plan, state: State, layer: int, queries: Tensor
    ) -> None:
        """norm(x) · matrixᵀ [M, 3 · D]: writes the queries [M, D], and keys and values to the rows' pages."""
        ...

    def added_product(self, x: Tensor, matrix: Matrix, residual: Tensor) -> None:
        """residual [M, N] += x · matrixᵀ."""
        ...

    def attend(
        self, queries: Tensor, plan: Plan, state: State, layer: int, num_positions: int, attended: Tensor
    ) -> None:
        """Writes attended [M, D] over each row's own positions, 0 to its own. num_positions: at least the most."""
        ...

    def attend_text(self, queries: Tensor, plan: Plan, state: State, layer: int, attended: Tensor) -> None:
        """Writes attended [M, D] over the tokens of the row's text; zero for the branch without."""
        ...

    def draw(self, logits: Tensor, plan: Plan, state: State, guided: Tensor, drawn: Tensor) -> None:
        """logits [M, K · V]: as `sampler` does, for each draw. Writes guided float32 [M, K, V], drawn int32 [M, K], and
        the token to the slot's next position where none is yet.
        """
        ...
