"""A head that says the key: which pitch classes belong to it, in every frame, as the text has them.

What a text encoder that was taught says of the key is a linear map of its states' mean (`etude.teach_text`). A head of
attention that asks for nothing looks at all tokens alike, so its values' mean is that map, and a decoder need not find
it in what little a key changes. One head of the second layer becomes it, the one that adds least, and stays so
(`trainee`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import MusicgenForConditionalGeneration

from etude.language_model.clock import LOUDNESS, dial, state_std

_LAYER = 1


@torch.no_grad()
def set_key_head(model: MusicgenForConditionalGeneration, readout: Tensor, columns: Tensor) -> None:
    """Writes the head into a float32 model.

    readout: [12, hidden], times the mean of a text's states, as the decoder attends to them: 1 for pitch classes in
    the key that is said, -1 for others, 0 where none is said. columns: int64 [B, K, S], of music.

    Raises ValueError for a decoder of one layer, or heads of fewer than 12 values.
    """
    decoder = model.decoder.model.decoder
    if len(decoder.layers) <= _LAYER or decoder.layers[_LAYER].encoder_attn.head_dim < len(readout):
        raise ValueError(f"a head for the key needs a second layer, with heads of {len(readout)} values at least")
    attention, norm = decoder.layers[_LAYER].encoder_attn, decoder.layers[_LAYER].encoder_attn_layer_norm
    std = state_std(model, norm, columns)
    rows = _least(attention)
    for weight in (attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight):
        weight[rows] = 0
    attention.out_proj.weight[:, rows] = 0
    attention.v_proj.weight[rows.start : rows.start + len(readout)] = readout
    # Where a clock's sinusoids are, nothing else is said before the first layer's units.
    for i, place in enumerate(dial(norm.weight.numel()).columns[: len(readout)].tolist()):
        attention.out_proj.weight[place, rows.start + i] = LOUDNESS * std


def key_heads(attention: nn.Module) -> Tensor:
    """Which rows of queries ask for nothing: bool [hidden]."""
    asks: Tensor = attention.q_proj.weight.ne(0).any(1)  # type: ignore[union-attr, operator]
    return ~asks


def _least(attention: nn.Module) -> slice:
    """The rows of the head whose values add least, or of one that says the key already."""
    size = int(attention.head_dim)  # type: ignore[arg-type]
    already = key_heads(attention).nonzero()
    if len(already):
        return slice(int(already[0]), int(already[0]) + size)
    values, out = attention.v_proj.weight, attention.out_proj.weight  # type: ignore[union-attr]
    starts = range(0, len(values), size)  # type: ignore[arg-type]
    adds = [float((out[:, i : i + size] @ values[i : i + size]).norm()) for i in starts]  # type: ignore[index]
    first = starts[adds.index(min(adds))]
    return slice(first, first + size)
