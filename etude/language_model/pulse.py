"""A pulse: where in the beat a frame is, from what a clock's heads tell of the bar, by units of the first layer.

The beat's cosine is a polynomial of the bar's. A decoder that has all else to learn does not find it in thousands of
steps; units that read nothing but the clock do in seconds. So as many as are needed are taken from the first layer, of
those that add least, are fitted alone, and write to two places that nothing else of the layer writes to.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import MusicgenForConditionalGeneration

from etude.language_model.clock import LOUDNESS, places_of, state_std

_UNITS = 96
_STEPS, _FRAMES, _RATE = 3000, 4096, 5e-3


@torch.no_grad()
def set_pulse(
    model: MusicgenForConditionalGeneration, columns: Tensor, texts: Tensor, mask: Tensor, phases: Tensor
) -> float:
    """Writes the pulse into a float32 model with a clock; returns the mean square that is left of the phases' 1.

    columns: int64 [B, K, S], what is read of music. texts, mask: [B, N, hidden], [B, N], what is attended to. phases:
    float32 [B, S, 2], the cosine and the sine of the beat's phase, 0 where the text says no tempo.

    Raises ValueError for a decoder with too few units.
    """
    decoder = model.decoder.model.decoder
    layer = decoder.layers[0]
    hands, pulse, one = places_of(decoder)
    norm, first, last = layer.final_layer_norm, layer.fc1, layer.fc2
    if len(first.weight) < _UNITS:
        raise ValueError(f"a pulse needs {_UNITS} units of a layer's, which has {len(first.weight)}")
    for table in decoder.embed_tokens:
        table.weight[:, pulse] = 0
    layer.self_attn.out_proj.weight[pulse] = 0
    layer.encoder_attn.out_proj.weight[pulse] = 0
    norm.weight[[*hands, *pulse]], norm.bias[[*hands, *pulse]] = 1, 0
    norm.weight[one], norm.bias[one] = 0, 1
    first.weight[:, one] = 0
    std = state_std(model, norm, columns)
    # The places that are still empty say what the norm took off.
    places = [*hands, pulse[0]]
    read: list[Tensor] = []
    watching = norm.register_forward_hook(lambda _, __, normed: read.append(normed[..., places]))
    try:
        for each in zip(columns, texts, mask, strict=True):
            codes, states, shown = (value[None] for value in each)
            model.decoder.model(
                codes.flatten(0, 1), encoder_hidden_states=states, encoder_attention_mask=shown, use_cache=False
            )
    finally:
        watching.remove()
    first_map, last_map, missed = _fit(torch.cat(read).flatten(0, 1), phases.flatten(0, 1))
    # Before units are chosen: those of an earlier pulse add nothing then, and are taken again.
    last.weight[pulse] = 0
    taken = last.weight.norm(dim=0).argsort()[:_UNITS]
    first.weight[taken] = 0
    first.weight[taken[:, None], torch.tensor(places)] = first_map.weight
    first.weight[taken, one] = first_map.bias
    last.weight[:, taken] = 0
    last.weight[torch.tensor(pulse)[:, None], taken] = LOUDNESS * std * last_map.weight
    return missed


@torch.enable_grad()
def _fit(read: Tensor, phases: Tensor) -> tuple[nn.Linear, nn.Linear, float]:
    """read: [frames, places]. phases: [frames, 2]. What units read and write, and the mean square they miss."""
    first, last = nn.Linear(read.shape[1], _UNITS), nn.Linear(_UNITS, 2, bias=False)
    units = nn.Sequential(first, nn.GELU(), last)
    optimizer = torch.optim.Adam(units.parameters(), lr=_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=_STEPS)
    for _ in range(_STEPS):
        drawn = torch.randint(len(read), (_FRAMES,))
        missed = (units(read[drawn]) - phases[drawn]).square().sum(1).mean()
        optimizer.zero_grad()
        missed.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        wrong = (units(read) - phases).square().sum(1)
        return first, last, float(wrong[phases.any(1)].mean())
