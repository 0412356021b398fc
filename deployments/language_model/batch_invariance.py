"""Which numbers of rows give every row the same bits, whatever its neighbours.

A matrix product's kernel may change with its number of rows, and with it the last bits. Rather than trust that it
does not, the engine pads to row counts which were seen to agree on this machine, for these weights, with these
threads. Measured on x86 with MKL and oneDNN: float32 agrees at multiples of 8, bfloat16 at every count from 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from deployments.language_model.config import DecoderConfig
from deployments.language_model.weights import DecoderWeights

MAX_ROWS = 64
BASE_ROWS = 8


def agreeing_row_counts(config: DecoderConfig, weights: DecoderWeights) -> tuple[int, ...]:
    """Ascending multiples of BASE_ROWS up to MAX_ROWS, all bit for bit alike, each row wherever it stands.

    Raises: RuntimeError when this machine's kernels give no such set (a row's place in a block changes its bits).
    """
    candidates = range(BASE_ROWS, MAX_ROWS + 1, BASE_ROWS)
    if weights.embedding.device.type != "cpu":
        return tuple(candidates)
    counts = set(candidates)
    for function, width in _row_functions(config, weights):
        x = torch.randn(MAX_ROWS, width, generator=torch.Generator().manual_seed(0))
        alone = _in_blocks(function, x, BASE_ROWS)
        if not torch.equal(_in_blocks(function, x.roll(3, 0), BASE_ROWS).roll(-3, 0), alone):
            raise RuntimeError(
                "matrix products on this machine depend on a row's place in its batch, so generations could depend "
                "on their neighbours; another dtype or number of threads may do better"
            )
        counts &= {rows for rows in candidates if _agrees(function, x, alone, rows)}
    return tuple(sorted(counts))


def _row_functions(config: DecoderConfig, weights: DecoderWeights) -> Iterator[tuple[Callable[[Tensor], Tensor], int]]:
    """Everything the forward pass applies to all rows at once, with its input's width; layers are alike."""
    layer = weights.layers[0]
    for product in (layer.self_qkv, layer.self_out, layer.cross_q, layer.cross_out, layer.ffn_in, layer.ffn_out):
        yield product, product.weight.shape[1]
    yield weights.heads, config.width
    yield layer.self_norm, config.width
    yield torch.nn.functional.gelu, config.ffn_width


def _in_blocks(function: Callable[[Tensor], Tensor], x: Tensor, rows: int) -> Tensor:
    return torch.cat([function(block) for block in torch.split(x, rows)])


def _agrees(function: Callable[[Tensor], Tensor], x: Tensor, alone: Tensor, rows: int) -> bool:
    whole = len(x) // rows * rows
    return torch.equal(_in_blocks(function, x[:whole], rows), alone[:whole])
