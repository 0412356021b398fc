"""What the engine needs of a decoder, whatever it runs on, and how it has the decoder compute its steps.

Every row's numbers depend on its own slot and branch alone, never on the rows beside it. A `HostDecoder` is given every
token, and its steps are computed one after the other. A `DeviceDecoder` keeps the tokens where it computes them, so
that the next step can start before the last one's tokens have been read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from deployments.language_model.config import DecoderConfig
from deployments.language_model.engine.request import EngineRequest
from deployments.language_model.engine.sampler import Draw, SamplingBatch
from deployments.language_model.engine.step import Rows, Step


class SlotCache(Protocol):
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
        """Of keys and values that a request takes from its admission to its end."""
        ...

    def close(self) -> None:
        """Ends its threads, if it has any."""
        ...


@runtime_checkable
class HostDecoder(_Decoder, Protocol):
    """One that is given every token, and returns every token, before the next step."""

    def new_cache(self, num_slots: int) -> Any:
        """A `SlotCache` of its own kind."""
        ...

    def read_text(self, cache: Any, slot: int, text_states: Tensor) -> None:
        """text_states [S, D_text]: keeps their keys and values in the slot; computed once a request, alone."""
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

    Attributes:
        steps_ahead: how many steps may be launched before the tokens of one are read.
        memory_bytes: for all slots together; None: no limit.
    """

    @property
    def steps_ahead(self) -> int: ...

    @property
    def memory_bytes(self) -> int | None: ...

    def admit(self, slot: int, request: EngineRequest) -> None:
        """The slot is this request's from the next step on.

        Raises:
            Exception: What `ran_out_of_memory` knows, and then the slot is to be released as any other.
        """
        ...

    def release(self, slot: int) -> None:
        """The slot is free; steps launched before may still write to it, those after may not."""
        ...

    def launch(self, step: Step) -> Callable[[], Draw] | None:
        """Starts a step. Returns what waits for the draws of `step.drawing`; None where there are none."""
        ...

    def check_integrity(self, slots: set[int]) -> None:
        """Checks that memory is held by the slots in use, and by no others.

        Args:
            slots: those in use.

        Raises:
            AssertionError: When others hold memory or any is lost.
        """
        ...


@runtime_checkable
class DeviceDecoder(_Decoder, Protocol):
    """One that keeps the tokens where it computes them."""

    def new_stepper(self, num_slots: int, memory_bytes: int | None, *, keep_logits: bool) -> Stepper:
        """A stepper with memory of its own.

        Args:
            memory_bytes: for keys and values; None: as many as there are.
            keep_logits: draws come with theirs.
        """
        ...


Decoder = HostDecoder | DeviceDecoder


class HostStepper:
    """Steps of a `HostDecoder`: each is done when `launch` returns."""

    steps_ahead = 0

    def __init__(self, decoder: HostDecoder, num_slots: int, memory_bytes: int | None) -> None:
        self.memory_bytes = memory_bytes
        self.cache = decoder.new_cache(num_slots)
        self._decoder = decoder
        self._num_slots = num_slots

    def admit(self, slot: int, request: EngineRequest) -> None:
        # A copy: what came through Ray's object store is read-only.
        self._decoder.read_text(self.cache, slot, torch.tensor(request.text_states))

    def release(self, slot: int) -> None:
        self.cache.clear_text(slot)

    def launch(self, step: Step) -> Callable[[], Draw] | None:
        hidden = self._decoder.hidden(step.rows(), self.cache)
        if not step.drawing:
            return None
        num_draws = len(step.drawing)
        logits = self._decoder.logits(hidden.index_select(0, torch.from_numpy(step.drawn).to(hidden.device)))
        draw = self._decoder.draw(logits[:num_draws], logits[num_draws:], step.batch, step.frames)
        return lambda: draw

    def check_integrity(self, slots: set[int]) -> None:
        held = {slot for slot in range(self._num_slots) if self.cache.holds_text(slot)}
        assert held <= slots, f"slots {held - slots} keep a text that no request needs"


def new_stepper(decoder: Decoder, num_slots: int, memory_bytes: int | None, *, keep_logits: bool) -> Stepper:
    """The decoder's own stepper, or a `HostStepper`."""
    if isinstance(decoder, DeviceDecoder):
        return decoder.new_stepper(num_slots, memory_bytes, keep_logits=keep_logits)
    return HostStepper(decoder, num_slots, memory_bytes)


def ran_out_of_memory(error: Exception) -> bool:
    """Of a device, of the process, or of torch on a CPU, which has no class of its own for it."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator: can't" in str(error)
