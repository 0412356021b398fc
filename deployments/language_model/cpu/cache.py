"""Keys and values of every slot, and the text each was given, for the 8-bit decoder."""

from __future__ import annotations

import numpy as np

from deployments.language_model.config import DecoderConfig
from deployments.language_model.cpu import layout
from deployments.language_model.cpu.kernels import HEAD_WIDTH, POSITIONS
from deployments.language_model.cpu.packing import aligned_empty, round_up


class Int8Cache:
    """Keys and values of every slot, float16; see `layout.Cache` for their order."""

    def __init__(self, config: DecoderConfig, num_slots: int, max_positions: int) -> None:
        positions = round_up(max_positions, POSITIONS)
        shape = (config.num_layers, num_slots, 2, config.num_heads, positions, HEAD_WIDTH)
        self._keys, self._values = (aligned_empty(shape, np.float16) for _ in range(2))
        self._texts: list[np.ndarray | None] = [None] * num_slots
        layer_bytes, _, row_bytes, head_bytes, _, _ = self._keys.strides
        self.layout = layout.Cache(
            keys=self._keys.ctypes.data,
            values=self._values.ctypes.data,
            layer_bytes=layer_bytes,
            row_bytes=row_bytes,
            head_bytes=head_bytes,
            text=np.zeros(num_slots, np.int64),
            text_tokens=np.zeros(num_slots, np.int64),
        )

    @property
    def num_slots(self) -> int:
        return len(self._texts)

    def holds_text(self, slot: int) -> bool:
        return self._texts[slot] is not None

    def set_text(self, slot: int, text: np.ndarray, num_tokens: int) -> None:
        """text: as `Int8Decoder.text_keys_values` packs it."""
        self._texts[slot] = text
        self.layout.text[slot], self.layout.text_tokens[slot] = text.ctypes.data, num_tokens

    def clear_text(self, slot: int) -> None:
        self._texts[slot] = None
        self.layout.text[slot] = self.layout.text_tokens[slot] = 0
