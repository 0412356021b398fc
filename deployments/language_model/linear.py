"""Matrix products with weights of one numeric type: float32 in, float32 out.

Activations stay float32 between the products, so that the type of the weights is the only thing a setting changes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def fixed(tensor: Tensor) -> nn.Parameter:
    """A parameter that is never trained."""
    return nn.Parameter(tensor, requires_grad=False)


class Linear(nn.Module):
    """x [M, in] → [M, out]. weight: [out, in] in its own type; bias: float32 [out] or None."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = fixed(weight)
        self.bias = None if bias is None else fixed(bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.dtype == torch.float32:
            return torch.nn.functional.linear(x, self.weight, self.bias)
        y = torch.nn.functional.linear(x.to(self.weight.dtype), self.weight).float()
        return y if self.bias is None else y + self.bias

    @property
    def size_bytes(self) -> int:
        return self.weight.nbytes
