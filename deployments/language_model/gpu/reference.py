"""The operations in plain torch: slow, obvious, and what the kernels are compared with.

Products are made in blocks of BLOCK rows, the last one filled up, so that each row meets the same arithmetic in
however many rows it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear, relu

from deployments.language_model.engine.sampler import SamplingBatch, guide, sample
from deployments.language_model.gpu.matrix import Matrix, Norm
from deployments.language_model.gpu.state import NOBODY, PAGE, TEXT, Plan, State

BLOCK = 16
EPSILON = 1e-5
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": gelu, "relu": relu}


@dataclass(frozen=True)
class ReferenceOperations:
    """compute: the type of what is multiplied."""

    compute: torch.dtype

    def embed(self, plan: Plan, state: State, embedding: Tensor, positions: Tensor, x: Tensor) -> None:
        tokens = state.tokens[plan.slots.long(), plan.positions.long()].long()
        num_codebooks = tokens.shape[1]
        rows_each = len(embedding) // num_codebooks
        total = embedding[tokens[:, 0]]
        for k in range(1, num_codebooks):
            total = total + embedding[k * rows_each + tokens[:, k]]
        x.copy_(total + positions[plan.positions.long()])

    def normed_product(self, x: Tensor, norm: Norm, matrix: Matrix, out: Tensor, activation: str | None) -> None:
        product = self._product(layer_norm(x, norm.weight.shape, norm.weight, norm.bias, EPSILON), matrix)
        out.copy_(ACTIVATIONS[activation](product) if activation else product)

    def keys_and_values(
        self, x: Tensor, norm: Norm, matrix: Matrix, plan: Plan, state: State, layer: int, queries: Tensor
    ) -> None:
        product = self._product(layer_norm(x, norm.weight.shape, norm.weight, norm.bias, EPSILON), matrix)
        cache = state.cache[layer]
        q, *keys_values = product.view(len(x), 3, *cache.shape[2:3], cache.shape[4]).unbind(1)
        queries.copy_(q.flatten(1))
        positions = plan.positions.long()
        pages = state.table[plan.slots.long(), plan.branches.long(), positions // PAGE].long()
        for i, each in enumerate(keys_values):
            cache[pages, i, :, positions % PAGE] = each.to(cache.dtype)

    def added_product(self, x: Tensor, matrix: Matrix, residual: Tensor) -> None:
        residual += self._product(x, matrix)

    def attend(
        self, queries: Tensor, plan: Plan, state: State, layer: int, num_positions: int, attended: Tensor
    ) -> None:
        for row, (slot, branch, position) in enumerate(_triples(plan)):
            assert position < num_positions
            attended[row] = _attended(queries[row], state.cache[layer], state.table[slot, branch], position + 1)

    def attend_text(self, queries: Tensor, plan: Plan, state: State, layer: int, attended: Tensor) -> None:
        attended.zero_()
        for row, (slot, branch, _) in enumerate(_triples(plan)):
            length = int(state.text_lengths[slot])
            if branch == 0 and length:
                attended[row] = _attended(queries[row], state.cache[layer], state.table[slot, TEXT], length)

    def draw(self, logits: Tensor, plan: Plan, state: State, guided: Tensor, drawn: Tensor) -> None:
        num_draws = int((plan.with_text != NOBODY).sum())
        if not num_draws:
            return
        with_text, without_text = plan.with_text[:num_draws].long(), plan.without_text[:num_draws].long()
        slots, positions = plan.slots[with_text].long(), plan.positions[with_text].long()
        batch = SamplingBatch(
            guidance_scale=_numpy(state.guidance[slots]),
            temperature=_numpy(state.temperature[slots]),
            greedy=_numpy(state.greedy[slots]).astype(np.bool_),
            top_k=_numpy(state.top_k[slots]).astype(np.int64),
            top_p=1 - _numpy(state.tail[slots]).astype(np.float64),
            seeds=_numpy(state.seeds[slots]).view(np.uint64),
        )
        each = logits.view(len(logits), *guided.shape[1:])
        guided[:num_draws] = guide(each[with_text], each[without_text], batch)
        frames = positions[:, None] - state.delays
        tokens = sample(guided[:num_draws], batch, _numpy(frames.long()))
        drawn[:num_draws] = tokens.int()
        following = state.tokens[slots, positions + 1]
        state.tokens[slots, positions + 1] = torch.where(following < 0, tokens.int(), following)

    def _product(self, x: Tensor, matrix: Matrix) -> Tensor:
        """float32 [M, N]. Types are rounded to, and then multiplied in float32: a CPU's own may differ."""
        weight = matrix.weight.float()
        padded = torch.zeros(-(-len(x) // BLOCK) * BLOCK, x.shape[1], device=x.device)
        padded[: len(x)] = x.to(self.compute).float()
        product = torch.cat([linear(block, weight) for block in torch.split(padded, BLOCK)])[: len(x)]
        return product if matrix.scales is None else product * matrix.scales


def _attended(query: Tensor, cache: Tensor, table: Tensor, length: int) -> Tensor:
    """query [D], cache [pages, 2, H, PAGE, D/H], table [P] → float32 [D]."""
    pages = cache[table[: -(-length // PAGE)].long()].float()  # [p, 2, H, PAGE, D/H]
    keys, values = pages.permute(1, 2, 0, 3, 4).flatten(2, 3)[:, :, :length].unbind(0)
    queries = query.float().view(keys.shape[0], 1, -1)
    scores = (keys * queries).sum(-1) * keys.shape[-1] ** -0.5
    attended: Tensor = (scores.softmax(-1)[..., None] * values).sum(1).flatten()
    return attended


def _triples(plan: Plan) -> list[tuple[int, int, int]]:
    return list(zip(plan.slots.tolist(), plan.branches.tolist(), plan.positions.tolist(), strict=True))


def _numpy(values: Tensor) -> np.ndarray:
    array: np.ndarray = values.cpu().numpy()
    return array
