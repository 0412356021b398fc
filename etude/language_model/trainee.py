"""A MusicGen as training sees it: text and codes in, and how badly each codebook was foreseen.

What transformers computes for a batch, with two differences. A clip without text attends to zero states, which add
nothing, exactly as the unconditional row does in `deployments.language_model.model` and in transformers' `generate`.
(transformers' forward would project such a row's states, or mask all of them, which some attention kernels answer with
NaN.) And the codec is no part of it.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import MusicgenForConditionalGeneration

from etude.language_model.batches import IGNORED, Batch, inputs_of
from etude.language_model.key_head import key_heads
from etude.language_model.roll import NUM_BITS, NUM_ROWS

# Of the squares by which a beat's phase is missed, beside nats.
_PHASE_WEIGHT = 4.0


class Trainee(nn.Module):
    """model: whose text encoder, projection and decoder these are. trains_text: else the text encoder is frozen.
    tells_score: whether the decoder also tells scores' rolls, by a linear map of what its last layer is given, so that
    this layer can make use of them; the map is no part of what is written.
    """

    def __init__(
        self, model: MusicgenForConditionalGeneration, *, trains_text: bool, tells_score: bool = False
    ) -> None:
        super().__init__()
        # Without the model around it, which only keeps the table of embeddings under a second name.
        self.text_encoder = model.text_encoder.encoder
        # None where text and decoder are of the same width.
        self.text_projection = getattr(model, "enc_to_dec_proj", None)
        self.decoder = model.decoder
        self.score_head = nn.Linear(model.config.decoder.hidden_size, NUM_ROWS) if tells_score else None
        self._trains_text = trains_text
        self._pad_token: int = model.config.decoder.pad_token_id
        self.requires_grad_(True)
        self.text_encoder.requires_grad_(trains_text)
        # Those of which some numbers are not learned, and must not decay either.
        self.kept: frozenset[int] = frozenset(map(id, [*_keep_clock(self), *_keep_key_heads(self)]))

    def train(self, mode: bool = True) -> Trainee:
        """A frozen text encoder has no dropout."""
        super().train(mode)
        if not self._trains_text:
            self.text_encoder.eval()
        return self

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The cross-entropy of every code in nats, zero where there was none to foresee: float32 [K, B, S]; and how
        badly scores' rolls were told, in nats a frame, zero where none is: float32 scalar.
        """
        read = inputs_of(batch.labels, self._pad_token).masked_fill(batch.missed[:, None], self._pad_token)
        found = self.decoder.model(
            read.flatten(0, 1),
            encoder_hidden_states=self.text_states(batch),
            encoder_attention_mask=batch.text_mask,
            use_cache=False,
            output_hidden_states=self.score_head is not None,
        )
        heads = zip(self.decoder.lm_heads, batch.labels.unbind(1), strict=True)
        losses = torch.stack([_losses(head(found.last_hidden_state).float(), labels) for head, labels in heads])
        if self.score_head is None:
            return losses, losses.new_zeros(())
        # The last of them is the last layer's, normed; the one before it is what that layer was given.
        hidden = found.hidden_states[-2]
        told = self.score_head(F.layer_norm(hidden, hidden.shape[-1:]))
        return losses, _roll_loss(told.float().transpose(1, 2), batch.roll)

    def text_states(self, batch: Batch) -> Tensor:
        """What the decoder attends to: [B, N, D], zero for padding, and for all of a clip whose text is not shown."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._trains_text):
            states = self.text_encoder(input_ids=batch.text, attention_mask=batch.text_mask).last_hidden_state
        if self.text_projection is not None:
            states = self.text_projection(states)
        shown = batch.text_mask * ~batch.unheard[:, None]
        shown_states: Tensor = states * shown[:, :, None]
        return shown_states


def _keep_clock(trainee: Trainee) -> list[nn.Parameter]:
    """Where there is a clock (`clock`), nothing learns to write in the places that it reads, and it stays as it is: a
    step changes hundreds of weights, each by as much as any other, and so fine a sum does not bear that. Returns
    weights of which a part is kept.
    """
    decoder = trainee.decoder.model.decoder
    silent = torch.stack([table.weight.eq(0).all(0) for table in decoder.embed_tokens]).all(0)
    if not silent.any():
        return []
    layer = decoder.layers[0]
    # Units that read nothing but the clock are the pulse's (`pulse`).
    reads = layer.fc1.weight.ne(0).float().mean(1) > 0.5
    learned = (
        *((table.weight, ~silent) for table in decoder.embed_tokens),
        (layer.self_attn.out_proj.weight, ~silent[:, None]),
        (layer.fc1.weight, reads[:, None]),
        (layer.fc2.weight, reads & (reads.all() | ~silent[:, None])),
    )
    for weight, learns in learned:
        weight.register_hook(partial(torch.mul, learns))
    for part in (layer.encoder_attn, layer.encoder_attn_layer_norm, layer.final_layer_norm, trainee.text_projection):
        if part is not None:
            part.requires_grad_(False)
    return [weight for weight, _ in learned]


def _keep_key_heads(trainee: Trainee) -> list[nn.Parameter]:
    """As they are (`key_head`). Returns weights of which a part is kept."""
    kept: list[nn.Parameter] = []
    for layer in trainee.decoder.model.decoder.layers:
        attention = layer.encoder_attn
        learns = ~key_heads(attention)
        if not learns.all():
            for part in (attention.q_proj, attention.k_proj, attention.v_proj):
                part.weight.register_hook(partial(torch.mul, learns[:, None]))
            attention.out_proj.weight.register_hook(partial(torch.mul, learns))
            kept += attention.parameters()
    return kept


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    """logits [B, S, V], labels [B, S] → [B, S]. All positions in a row: codes are then next to each other in memory."""
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none")
    return losses.view(labels.shape)


def _roll_loss(told: Tensor, roll: Tensor) -> Tensor:
    """Both [B, rows, S]. The sum over rows, the mean over the columns that have a roll."""
    known = ~roll.isnan().any(1)
    roll = roll.nan_to_num()
    bits = F.binary_cross_entropy_with_logits(told[:, :NUM_BITS], roll[:, :NUM_BITS], reduction="none").sum(1)
    phases = (told[:, NUM_BITS:] - roll[:, NUM_BITS:]).square().sum(1)
    return ((bits + _PHASE_WEIGHT * phases) * known).sum() / known.sum().clamp(min=1)


def codebook_means(losses: Tensor, labels: Tensor) -> Tensor:
    """Each codebook's mean over the codes that were to be foreseen: losses [K, B, S], labels [B, K, S] → [K]."""
    return losses.sum((1, 2)) / (labels != IGNORED).sum((0, 2)).clamp(min=1)
