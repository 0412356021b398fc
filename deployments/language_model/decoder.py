"""What the engine needs of a decoder, whatever it runs on."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from torch import Tensor

from deployments.language_model.config import DecoderConfig
from deployments.language_model.rows import Rows
from deployments.language_model.sampler import Draw, SamplingBatch


class Cache(Protocol):
    """Keys and values of every slot, and the text each was given."""

    def holds_text(self, slot: int) -> bool: ...

    def clear_text(self, slot: int) -> None: ...


class Decoder(Protocol):
    """Every row's numbers depend on its own slot and branch alone, never on the rows beside it.

    max_rows: of one call. step_bytes: of weights that one decoding step reads. numerics: what bits depend on.
    """

    @property
    def config(self) -> DecoderConfig: ...

    @property
    def max_rows(self) -> int: ...

    @property
    def step_bytes(self) -> int: ...

    @property
    def numerics(self) -> str: ...

    def new_cache(self, num_slots: int) -> Any:
        """A `Cache` of its own kind."""
        ...

    def read_text(self, cache: Any, slot: int, text_states: Tensor) -> None:
        """text_states [S, D_text]: keeps their keys and values in the slot; computed once for a request, alone."""
        ...

    def hidden(self, rows: Rows, cache: Any) -> Tensor:
        """[M, D] after the final norm. Writes the rows' keys and values into the cache before reading them."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden [M, D] → float32 [M, K, V]."""
        ...

    def draw(self, with_text: Tensor, without_text: Tensor, batch: SamplingBatch, frames: np.ndarray) -> Draw:
        """Logits [R, K, V] twice, frames int64 [R, K] → the tokens: see `sampler`."""
        ...

    def close(self) -> None:
        """Ends its threads, if it has any."""
        ...
