"""Texture in a new codec's decoder: what the transform has no components for sounds as loud as the envelope says.

For each group of bands one spare channel holds the logarithm of a level, which ELU turns into the level less one; the
first transposed convolution multiplies a fixed noise by it, two hops long, that overlaps with the next frame's. A last
channel, always -1 after ELU, takes the one off again. It is noise that comes round at the frame rate: good enough for a
cymbal's place to be found, and for training to go on from.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import EncodecModel

from etude.codec.energies import components_of_blocks
from etude.codec.weights import convolutions, parameters, write_filters

# Far enough below zero that ELU makes -1 of it.
_NOTHING = -20.0
_FLOOR = 1e-8


def filled_groups(num_bands: int) -> list[list[int]]:
    """The bands that are filled: none of the lowest, where noise would be taken for notes, then singles, then pairs."""
    first = 3 * num_bands // 16
    pairs = torch.arange(2 * first, num_bands).tensor_split((num_bands - 2 * first) // 2)
    return [[band] for band in range(first, 2 * first)] + [pair.tolist() for pair in pairs]


@torch.no_grad()
def levels(model: EncodecModel, sound: Tensor, hop_blocks: int) -> Tensor:
    """The logarithm of each group's level over two hops from each frame on: [B, samples] → [B, frames - 1, groups].

    hop_blocks: short blocks in a hop.
    """
    power = components_of_blocks(model, sound).unfold(2, 2 * hop_blocks, hop_blocks).square().mean(-1)
    groups = [power[:, group].mean(1) for group in filled_groups(power.shape[1])]
    return torch.log(torch.stack(groups, dim=-1) + _FLOOR) / 2


@torch.no_grad()
def write_filling(model: EncodecModel, latents: Tensor, wanted: Tensor, *, components: int, seed: int) -> None:
    """Writes levels as least squares foretells them from the envelope's latents.

    latents: [B, T, D], as they come out of the codebooks. wanted: [B, T or fewer, groups], see `levels`.
    components: the first latents, which are the transform's.
    """
    first, transposed, *_ = convolutions(model.decoder)
    num_groups = wanted.shape[-1]
    told = latents[:, : wanted.shape[1], components:]
    rows = torch.cat([told, torch.ones_like(told[..., :1])], dim=-1).flatten(0, 1).double()
    solution = torch.linalg.lstsq(rows, wanted.flatten(0, 1).double()).solution.T.float()

    begin, end = 2 * components, 2 * components + num_groups + 1
    if end > first.out_channels:
        raise ValueError(f"{num_groups} groups of bands and {components} components are more than there are channels")
    kernel = torch.zeros(num_groups + 1, first.in_channels, *first.kernel_size)
    middle = kernel.shape[-1] // 2
    kernel[:-1, components:, middle] = solution[:, :-1]
    # A direction of no length would have no gradient.
    kernel[-1] = 1e-6
    bias = torch.cat([solution[:, -1], torch.tensor([_NOTHING])])
    write_filters(first, slice(begin, end), kernel, bias)
    lengths, _, biases = parameters(first)
    lengths[end:], biases[end:] = 0, 0

    num_bands, (taps,) = transposed.out_channels // 2, transposed.kernel_size
    window = torch.hann_window(taps + 2)[1:-1].sqrt()
    draw = torch.Generator().manual_seed(seed)
    noise = torch.zeros(num_groups + 1, transposed.out_channels, taps)
    for row, group in enumerate(filled_groups(num_bands)):
        for band in group:
            texture = torch.randn(taps, generator=draw) * window
            # Two that overlap have the power of one.
            noise[row, band] = texture / texture.square().mean().sqrt() * 0.5**0.5
            noise[row, band + num_bands] = -noise[row, band]
    noise[-1] = -noise[:-1].sum(0)
    write_filters(transposed, slice(begin, end), noise)
