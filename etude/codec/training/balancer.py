"""How much each loss counts: by the size of its gradient, not by its own (Défossez et al. 2022, arXiv:2210.13438, 3.4).

A weight then says which share of what moves the decoder comes from a loss, whatever its units are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# The usual size of a gradient is a moving average that keeps this much at a step.
_DECAY = 0.99

# One crop in silence may have a gradient many times the usual; it counts at most this many times as much.
_MOST = 2.0


class Balancer:
    """weights: of the losses, by name; shares of their sum. Its state is saved by `state_dict` and resumed from."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = dict(weights)
        self._usual: dict[str, float] = {}

    def gradient(self, losses: Mapping[str, Tensor], sound: Tensor) -> Tensor:
        """What to call `sound.backward` with: as big as `sound`, and of norm 1, more or less.

        losses: scalars made of `sound`, each with a weight; those of weight 0 are left out. Raises FloatingPointError
        for a gradient that is not finite.
        """
        counted = {name: loss for name, loss in losses.items() if self._weights[name] > 0}
        total = sum(self._weights[name] for name in counted)
        together = torch.zeros_like(sound)
        for name, loss in counted.items():
            (gradient,) = torch.autograd.grad(loss, [sound], retain_graph=True)
            norm = float(gradient.norm())
            if not norm < float("inf"):
                raise FloatingPointError(f"the gradient of {name} is {norm}: try a smaller learning rate")
            usual = self._usual[name] = _DECAY * self._usual.get(name, norm) + (1 - _DECAY) * norm
            together += gradient * (self._weights[name] / total / max(usual, norm / _MOST, 1e-12))
        return together

    def state_dict(self) -> dict[str, float]:
        """The usual size of each loss's gradient."""
        return dict(self._usual)

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Goes on from what `state_dict` said."""
        self._usual = dict(state)
