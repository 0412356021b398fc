"""Energies in a new codec's encoder: what no linear transform tells, written into the channels it leaves over.

Whoever foresees a lapped transform's coefficients must foresee phases, which turn with every frame; how loud each band
is changes slowly, and says what plays. In the encoder as `initialise.py` makes it a component x is held by two channels
c + x and c - x, and only their difference is read. So a band's energy goes along in their sum: the residual block where
blocks are short turns x into ELU(k x), which is near max(0, k x), and adds it to both channels; the last strided
convolution averages it over a frame's window, group of bands by group, and writes it, negated, into channels that hold
no component. ELU then makes exp(-a E) - 1 of an energy E: a step in log E, and four steps with different a tell levels
over a range of 40 dB.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import EncodecModel
from transformers.models.encodec.modeling_encodec import EncodecLSTM, EncodecResnetBlock

from etude.codec.weights import convolutions, write_filters

# k above, and the factor of what is added to a pair. Components deviate by 0.2 before and the pair's constant is 1.
_GAIN, _SHARE = 100.0, 0.2

# a above.
STEPS = (4.0, 0.8, 0.16, 0.04)


def groups_of(num_bands: int, num_groups: int) -> list[list[int]]:
    """Bands, the lowest first, in groups: the first half of the groups have one each, the rest share the rest."""
    alone = num_groups // 2
    shared = torch.arange(alone, num_bands).tensor_split(num_groups - alone)
    return [[band] for band in range(alone)] + [group.tolist() for group in shared]


def write_energies(model: EncodecModel, components: int) -> None:
    """Writes them. components: how many the transform has, of a model that `new_codec` made.

    Raises ValueError where these leave fewer channels than one for each of `STEPS`.
    """
    block = [module for module in model.encoder.modules() if isinstance(module, EncodecResnetBlock)][-1]
    rectifying, adding = block.block[1].conv, block.block[3].conv
    num_bands = adding.out_channels // 2
    bands = torch.arange(num_bands)
    kernel = torch.zeros_like(rectifying.weight)
    middle = kernel.shape[-1] // 2
    kernel[bands, bands, middle], kernel[bands, bands + num_bands, middle] = _GAIN / 2, -_GAIN / 2
    write_filters(rectifying, slice(None), kernel, 0.0)
    kernel = torch.zeros_like(adding.weight)
    kernel[bands, bands, 0] = kernel[bands + num_bands, bands, 0] = _SHARE
    write_filters(adding, slice(None), kernel, 0.0)

    *_, strided, _ = convolutions(model.encoder)
    spare = slice(2 * components, strided.out_channels)
    num_groups = (strided.out_channels - 2 * components) // len(STEPS)
    if num_groups < 1:
        raise ValueError(f"{components} components leave no channels for energies")
    (taps,) = strided.kernel_size
    window = torch.hann_window(taps + 2)[1:-1]
    window = window / window.sum()
    kernel = torch.zeros(strided.out_channels - 2 * components, 2 * num_bands, taps)
    bias = torch.zeros(len(kernel))
    rows = iter(range(len(kernel)))
    for step in STEPS:
        for group in groups_of(num_bands, num_groups):
            row = next(rows)
            for band in group:
                kernel[row, band] = kernel[row, band + num_bands] = -step / _SHARE / len(group) * window / 2
            # The constant that every pair has, taken off again.
            bias[row] = step / _SHARE
    write_filters(strided, spare, kernel, bias)


def components_of_blocks(model: EncodecModel, sound: Tensor) -> Tensor:
    """The cosine transform of short blocks that energies are of: [B, samples] → [B, bands, blocks]."""
    blocks = [layer for layer in model.encoder.layers if isinstance(layer, EncodecResnetBlock)]
    hidden = sound[:, None]
    for layer in model.encoder.layers:
        if layer is blocks[-1]:
            break
        hidden = layer(hidden)
    positive, negative = hidden.chunk(2, dim=1)
    return (positive - negative) / 2


def before_lstm(model: EncodecModel, sound: Tensor) -> Tensor:
    """What the encoder's LSTM is given: [B, samples] → [B, channels, frames]."""
    hidden = sound[:, None]
    for layer in model.encoder.layers:
        if isinstance(layer, EncodecLSTM):
            break
        hidden = layer(hidden)
    return hidden
