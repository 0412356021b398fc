"""Where an EncodecModel's weights are: its folder, the convolutions of its halves, and how these are written.

Every convolution has weight norm: its weight is each filter's length times its direction once that is made one long.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn
from transformers import AutoConfig, EncodecModel, MusicgenForConditionalGeneration
from transformers.models.encodec.modeling_encodec import EncodecConv1d, EncodecConvTranspose1d

Convolution: TypeAlias = nn.Conv1d | nn.ConvTranspose1d

# See `split`. Where this was 1 the log-mel distance on held-out pieces rose for the first hundreds of steps, at
# rates of 1e-4 and 3e-4 (the latter with other betas and warm-up); at 5 and 3e-4 it falls from the start.
_INERTIA = 5.0


def load_codec(folder: Path) -> EncodecModel:
    """The codec of an EncodecModel's folder or a MusicGen's, in float32. Raises OSError where there is none."""
    if AutoConfig.from_pretrained(folder).model_type == "musicgen":
        whole = MusicgenForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        codec: EncodecModel = whole.audio_encoder
    else:
        codec = EncodecModel.from_pretrained(folder, dtype=torch.float32)
    return codec


def convolutions(half: nn.Module) -> list[Convolution]:
    """The convolutions that sound passes through whichever way, from first to last."""
    layers = half.get_submodule("layers").children()
    return [layer.conv for layer in layers if isinstance(layer, EncodecConv1d | EncodecConvTranspose1d)]


def parameters(conv: Convolution) -> tuple[Tensor, Tensor, Tensor]:
    """Lengths, directions, biases."""
    found = dict(conv.named_parameters())
    weight = "parametrizations.weight.original"
    return found[f"{weight}0"], found[f"{weight}1"], found["bias"]


@torch.no_grad()
def write_filters(conv: Convolution, filters: slice, kernel: Tensor, bias: Tensor | float | None = None) -> None:
    """Makes the kernel that of some filters, with their biases, and leaves the others alone.

    kernel: [filters, in, taps]; of a transposed convolution [inputs, out, taps], its filters being its inputs, which
    have no biases.
    """
    lengths, directions, biases = parameters(conv)
    lengths[filters] = kernel.flatten(1).norm(dim=1)[:, None, None]
    directions[filters] = kernel / lengths[filters].clamp(min=1e-12) * _INERTIA * kernel[0].numel() ** 0.5
    if bias is not None:
        biases[filters] = bias


def split(conv: Convolution) -> None:
    """Splits what was written as a direction into a length and a direction whose elements are near `_INERTIA`.

    The size of a direction doesn't change the weight, but how fast it turns: Adam moves every element by about the
    learning rate, whatever its size, and thousands of elements moving together would drown the transform in noise
    within a few steps. This way each moves by a small part of itself, while what is still to be learned moves freely.
    """
    lengths, directions, _ = parameters(conv)
    lengths.copy_(directions.flatten(1).norm(dim=1)[:, None, None])
    directions *= _INERTIA * directions[0].numel() ** 0.5 / lengths
