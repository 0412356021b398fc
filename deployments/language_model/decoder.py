"""What the engine needs of a decoder, whatever it runs on.

Every row's numbers depend on its own slot and branch alone, never on the rows beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from deployments.language_model.config import DecoderConfig
from deployments.language_model.engine.request import Generation
from deployments.language_model.engine.sampler import Draw, SamplingBatch
from deployments.language_model.engine.step import Rows, Step


class Cache(Protocol):
    """Keys and values of every slot, and the text each was given."""

    def holds_text(self, slot: int) -> bool: ...

    def clear_text(self, slot: int) -> None: ...


class _Decoder(Protocol):
    """max_rows: of one step. step_bytes: of weights that one decoding step reads. numerics: what bits depend on."""

    @property
    def config(self) -> DecoderConfig: ...

    @property
    def max_rows(self) -> int: ...

    @property
    def step_bytes(self) -> int: ...

    @property
    def numerics(self) -> str: ...

    def bytes_of(self, num_positions: int, num_branches: int, num_text_tokens: int) -> int:
        """Of keys and values that a generation takes from its admission to its end."""
        ...

    def close(self) -> None:
        """Ends its threads, if it has any."""
        ...


@runtime_checkable
class HostDecoder(_Decoder, Protocol):
    """One that is given every token, and gives every token back, before the next step."""

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


class Stepper(Protocol):
    """The slots' memory, and the steps over it, in the order they are launched.

    steps_ahead: how many steps may be launched before the tokens of one are asked for. memory_bytes: for all slots
    together; None: no limit.
    """

    @property
    def steps_ahead(self) -> int: ...

    @property
    def memory_bytes(self) -> int | None: ...

    def admit(self, slot: int, generation: Generation) -> None:
        """The slot is this generation's from the next step on.

        Raises: what `ran_out_of_memory` knows, and then the slot is to be released as any other.
        """
        ...

    def release(self, slot: int) -> None:
        """The slot is free; steps launched before may still write to it, those after may not."""
        ...

    def launch(self, step: Step) -> Callable[[], Draw] | None:
        """Starts a step. What it gives waits for the draws of `step.drawing`; None where nobody draws."""
        ...

    def check_integrity(self, slots: set[int]) -> None:
        """slots: those in use. Raises: AssertionError when others hold memory or any is lost."""
        ...


@runtime_checkable
class DeviceDecoder(_Decoder, Protocol):
    """One that keeps the tokens where it computes, so that a step can start before the last one's have been read."""

    def new_stepper(self, num_slots: int, memory_bytes: int | None, *, keep_logits: bool) -> Stepper:
        """memory_bytes: for keys and values; None: as many as there are. keep_logits: draws come with theirs."""
        ...


Decoder = HostDecoder | DeviceDecoder
