"""Averaged weights: a moving average of all that a codec learns, which is less noisy than any of its steps."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from transformers import EncodecModel


class Average:
    """model: what is averaged, now and later. decay: what is kept at a step, once steps are many.

    In the first steps it keeps less: a start from nothing would otherwise be part of the average for long.
    """

    def __init__(self, model: EncodecModel, decay: float) -> None:
        self.model: EncodecModel = copy.deepcopy(model).eval().requires_grad_(False)
        """The average, to be listened to."""
        self._decay = decay
        self._steps = 0

    @torch.no_grad()
    def follow(self, model: EncodecModel) -> None:
        """After a step."""
        self._steps += 1
        decay = min(self._decay, self._steps / (self._steps + 9))
        own, new = self.model.state_dict(), model.state_dict()
        floating = [name for name, tensor in own.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([own[name] for name in floating], [new[name] for name in floating], 1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        """The average, and how many steps are in it."""
        return {**self.model.state_dict(), "steps": torch.tensor(self._steps)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Goes on from what `state_dict` said."""
        self._steps = int(state["steps"])
        self.model.load_state_dict({name: tensor for name, tensor in state.items() if name != "steps"})
