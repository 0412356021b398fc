"""The codec as training sees it: one module, from sound to what is lost of it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from transformers import EncodecModel

from etude.codec.losses import ReconstructionLoss
from etude.codec.quantiser import Quantised, quantise
from etude.codec.recipe import Stage


@dataclass(frozen=True)
class Outcome:
    """terms: of the loss, scalars by name. quantised: None where the stage quantises nothing."""

    terms: dict[str, Tensor]
    quantised: Quantised | None


class Trainee(nn.Module):
    """An EncodecModel in one stage of its training. What the stage does not train is frozen."""

    def __init__(self, model: EncodecModel, stage: Stage) -> None:
        super().__init__()
        self.model = model
        self.stage = stage
        self.loss = ReconstructionLoss(model.config.sampling_rate)
        model.encoder.requires_grad_(stage != "decoder")

    def forward(self, sound: Tensor) -> Outcome:
        """sound: [B, samples], whole frames."""
        latents = self.model.encoder(sound[:, None]).float()
        quantised = None if self.stage == "autoencoder" else quantise(self.model.quantizer, latents)
        if quantised is not None:
            latents = quantised.latents
        reconstruction = self.model.decoder(latents)[:, 0].float()
        terms = self.loss(sound, reconstruction)
        if quantised is not None and self.stage == "quantiser":
            terms["commitment"] = quantised.commitment
        return Outcome(terms, quantised)
