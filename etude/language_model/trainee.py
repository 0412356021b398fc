"""A MusicGen as training sees it: text and codes in, and how badly each codebook was foreseen.

What transformers computes for a batch, with two differences. A clip without text attends to zero states, which add
nothing, exactly as the unconditional row does in `deployments.language_model.model` and in transformers' `generate`.
(transformers' forward would project such a row's states, or mask all of them, which some attention kernels answer with
NaN.) And the codec is no part of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import MusicgenForConditionalGeneration

from etude.language_model.batches import IGNORED, Batch, inputs_of


class Trainee(nn.Module):
    """model: whose text encoder, projection and decoder these are. trains_text: else the text encoder is frozen."""

    def __init__(self, model: MusicgenForConditionalGeneration, *, trains_text: bool) -> None:
        super().__init__()
        # Without the model around it, which only keeps the table of embeddings under a second name.
        self.text_encoder = model.text_encoder.encoder
        # None where text and decoder are of the same width.
        self.text_projection = getattr(model, "enc_to_dec_proj", None)
        self.decoder = model.decoder
        self._trains_text = trains_text
        self._pad_token: int = model.config.decoder.pad_token_id
        self.requires_grad_(True)
        self.text_encoder.requires_grad_(trains_text)

    def train(self, mode: bool = True) -> Trainee:
        """A frozen text encoder has no dropout."""
        super().train(mode)
        if not self._trains_text:
            self.text_encoder.eval()
        return self

    def forward(self, batch: Batch) -> Tensor:
        """The cross-entropy of every code in nats, zero where there was none to foresee: float32 [K, B, S]."""
        read = inputs_of(batch.labels, self._pad_token).masked_fill(batch.missed[:, None], self._pad_token)
        hidden = self.decoder.model(
            read.flatten(0, 1),
            encoder_hidden_states=self.text_states(batch),
            encoder_attention_mask=batch.text_mask,
            use_cache=False,
        ).last_hidden_state
        heads = zip(self.decoder.lm_heads, batch.labels.unbind(1), strict=True)
        return torch.stack([_losses(head(hidden).float(), labels) for head, labels in heads])

    def text_states(self, batch: Batch) -> Tensor:
        """What the decoder attends to: [B, N, D], zero for padding, and for all of a clip whose text is not shown."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._trains_text):
            states = self.text_encoder(input_ids=batch.text, attention_mask=batch.text_mask).last_hidden_state
        if self.text_projection is not None:
            states = self.text_projection(states)
        shown = batch.text_mask * ~batch.unheard[:, None]
        shown_states: Tensor = states * shown[:, :, None]
        return shown_states


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    """logits [B, S, V], labels [B, S] → [B, S]. All positions in a row: codes are then next to each other in memory."""
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none")
    return losses.view(labels.shape)


def codebook_means(losses: Tensor, labels: Tensor) -> Tensor:
    """Each codebook's mean over the codes that were to be foreseen: losses [K, B, S], labels [B, K, S] → [K]."""
    return losses.sum((1, 2)) / (labels != IGNORED).sum((0, 2)).clamp(min=1)
