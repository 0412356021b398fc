"""Weight norm undone: a length and a direction, in either spelling of torch's, become the one weight they stand for."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from deployments.checkpoints.errors import CheckpointError, first_few

# (length, direction) in place of "weight", as `nn.utils.weight_norm` and `nn.utils.parametrizations.weight_norm` save.
_SPELLINGS = (
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)


def fuse_weight_norm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors with a `weight` in place of every length and direction, of the direction's type.

    weight = length * direction / |direction|, the norm over all dimensions but the first (Salimans & Kingma 2016, as
    torch has it), computed in 32 bit. Raises CheckpointError for a length without a direction, or the reverse.
    """
    fused = dict(tensors)
    for length, direction in _SPELLINGS:
        with_length = {name.removesuffix(length) for name in tensors if name.endswith(length)}
        with_direction = {name.removesuffix(direction) for name in tensors if name.endswith(direction)}
        halves = sorted(with_length ^ with_direction)
        if halves:
            raise CheckpointError(f"weight norm lacks its length or its direction in {first_few(halves)}")
        for prefix in sorted(with_length):
            fused[prefix + "weight"] = _weight(fused.pop(prefix + length), fused.pop(prefix + direction))
    return fused


def _weight(length: Tensor, direction: Tensor) -> Tensor:
    v = direction.float()
    norm: Tensor = torch.linalg.vector_norm(v, dim=tuple(range(1, v.ndim)), keepdim=True)
    return (v * (length.float() / norm)).to(direction.dtype)
