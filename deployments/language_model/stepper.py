"""Who computes the engine's steps: a decoder that is handed every token, or one that keeps them where it computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from deployments.language_model.decoder import Decoder, DeviceDecoder, HostDecoder
from deployments.language_model.generation import Generation
from deployments.language_model.sampler import Draw
from deployments.language_model.step import Step


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


class HostStepper:
    """Steps of a decoder that is given its tokens: each is done when `launch` returns."""

    steps_ahead = 0

    def __init__(self, decoder: HostDecoder, num_slots: int, memory_bytes: int | None) -> None:
        self.memory_bytes = memory_bytes
        self.cache = decoder.new_cache(num_slots)
        self._decoder = decoder
        self._num_slots = num_slots

    def admit(self, slot: int, generation: Generation) -> None:
        # A copy: what came through Ray's object store is read-only.
        self._decoder.read_text(self.cache, slot, torch.tensor(generation.text_states))

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
        assert held <= slots, f"slots {held - slots} keep a text for nobody"


def new_stepper(decoder: Decoder, num_slots: int, memory_bytes: int | None, *, keep_logits: bool) -> Stepper:
    """The decoder's own, or one that hands it every token."""
    if isinstance(decoder, DeviceDecoder):
        return decoder.new_stepper(num_slots, memory_bytes, keep_logits=keep_logits)
    return HostStepper(decoder, num_slots, memory_bytes)


def ran_out_of_memory(error: Exception) -> bool:
    """Of a device, of the process, or of torch on a CPU, which has no class of its own for it."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator: can't" in str(error)
