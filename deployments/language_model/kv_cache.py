"""Keys and values of every slot: what a generation has seen, and the words it was given."""

from __future__ import annotations

import torch
from torch import Tensor

from deployments.language_model.config import DecoderConfig

BRANCHES = 2  # with the text, and without it (guidance)


class KVCache:
    """keys[i], values[i]: float32 [slots, 2, H, positions, D/H] of layer i; branch 0 has the text, 1 has none.

    Memory is touched only as positions are written, so an unused slot costs address space and nothing else.
    A slot's text is [layers, 2 (key, value), 1, H, S, D/H]; None while the slot is free. Without text the
    keys and values are all zero, and so is what cross-attention adds: branch 1 needs none.
    """

    def __init__(self, config: DecoderConfig, num_slots: int, max_positions: int, device: str = "cpu") -> None:
        shape = (num_slots, BRANCHES, config.num_heads, max_positions, config.head_width)
        self.keys = [torch.empty(shape, device=device) for _ in range(config.num_layers)]
        self.values = [torch.empty(shape, device=device) for _ in range(config.num_layers)]
        self.text: list[Tensor | None] = [None] * num_slots

    @property
    def num_slots(self) -> int:
        return len(self.text)

    def holds_text(self, slot: int) -> bool:
        return self.text[slot] is not None

    def clear_text(self, slot: int) -> None:
        self.text[slot] = None

    def write(
        self, layer: int, slots: Tensor, branches: Tensor, positions: Tensor, keys: Tensor, values: Tensor
    ) -> None:
        """keys, values: [M, H, D/H], one for each (slot, branch, position) of the three index vectors [M]."""
        self.keys[layer][slots, branches, :, positions] = keys
        self.values[layer][slots, branches, :, positions] = values

    def read(self, layer: int, slot: int, num_branches: int, length: int) -> tuple[Tensor, Tensor]:
        """Views [num_branches, H, length, D/H] of the positions that exist."""
        return (
            self.keys[layer][slot, :num_branches, :, :length],
            self.values[layer][slot, :num_branches, :, :length],
        )
