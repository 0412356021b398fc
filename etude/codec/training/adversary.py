"""The discriminator in training: what it makes of reconstructions, and how it learns from them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from etude.codec.training.discriminator import (
    Discriminator,
    adversarial_loss,
    discriminator_loss,
    feature_loss,
)

# Feature matching counts this many times as much as verdicts; both are near 1.
_FEATURES = 2.0


class Adversary:
    """learning_rate: of the discriminator. seed: of its first weights. Its state is saved and resumed from."""

    def __init__(self, learning_rate: float, seed: int, device: torch.device) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._discriminator = Discriminator().to(device)
        parameters = self._discriminator.parameters()
        self._optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.8, 0.99), weight_decay=0.0)

    def loss(self, sound: Tensor, reconstruction: Tensor) -> dict[str, Tensor]:
        """What the codec is to make small, by name. sound, reconstruction: [B, samples]."""
        self._discriminator.requires_grad_(False)
        real, made = self._discriminator(sound), self._discriminator(reconstruction)
        return {"adversarial": adversarial_loss(made), "features": feature_loss(real, made)}

    def learn(self, sound: Tensor, reconstruction: Tensor) -> Tensor:
        """One step; returns its loss, 0.5 where it tells nothing apart."""
        self._discriminator.requires_grad_(True)
        loss = discriminator_loss(self._discriminator(sound), self._discriminator(reconstruction.detach()))
        self._optimizer.zero_grad()
        torch.autograd.backward([loss])
        self._optimizer.step()
        return loss.detach()

    def state_dict(self) -> dict[str, Any]:
        """Weights and optimiser."""
        return {"discriminator": self._discriminator.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what `state_dict` said."""
        self._discriminator.load_state_dict(state["discriminator"])
        self._optimizer.load_state_dict(state["optimizer"])


def weighed(terms: dict[str, Tensor]) -> Tensor:
    """The terms of `Adversary.loss` as one."""
    return terms["adversarial"] + _FEATURES * terms["features"]
