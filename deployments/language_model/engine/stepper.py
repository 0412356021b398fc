"""Who computes the engine's steps: a decoder that is handed every token, or one that keeps them where it computes."""

from __future__ import annotations

from collections.abc import Callable

import torch

from deployments.language_model.decoder import Decoder, DeviceDecoder, HostDecoder, Stepper
from deployments.language_model.engine.request import Generation
from deployments.language_model.engine.sampler import Draw
from deployments.language_model.engine.step import Step


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
