"""An EnCodec's encoder and decoder as `taps` computes them: the same weights, the same numbers, less time on a CPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import EncodecModel
from transformers.models.encodec.modeling_encodec import (
    EncodecConv1d,
    EncodecConvTranspose1d,
    EncodecLSTM,
    EncodecResnetBlock,
)

from etude.codec.training.taps import Taps, Window, toeplitz

# Blocks have about so many channels, all of their samples together.
_BLOCK_CHANNELS = 64


def encode(model: EncodecModel, sound: Tensor) -> Tensor:
    """What `model.encoder` makes of a sound: [B, samples], whole frames, four at least, → [B, D, T]."""
    if sound.device.type != "cpu":
        return _tensor(model.encoder(sound[:, None]))
    return _run(model.encoder, sound[:, :, None]).transpose(1, 2)


def decode(model: EncodecModel, latents: Tensor) -> Tensor:
    """What `model.decoder` makes of latents: [B, D, T], four frames at least, → [B, samples]."""
    if latents.device.type != "cpu":
        return _tensor(model.decoder(latents))[:, 0]
    return _run(model.decoder, latents.transpose(1, 2))[:, :, 0]


def _run(half: nn.Module, hidden: Tensor) -> Tensor:
    """[B, T, C] through all layers. An ELU is part of what comes after it."""
    activated = False
    for layer in half.get_submodule("layers").children():
        if isinstance(layer, nn.ELU):
            activated = True
            continue
        if isinstance(layer, EncodecConv1d):
            hidden = _convolved(layer, hidden, activated=activated)
        elif isinstance(layer, EncodecConvTranspose1d):
            hidden = _transposed(layer, hidden, activated=activated)
        elif isinstance(layer, EncodecResnetBlock):
            hidden = _residual(layer, hidden)
        elif isinstance(layer, EncodecLSTM):
            hidden = layer.lstm(hidden.transpose(0, 1))[0].transpose(0, 1) + hidden
        else:
            raise TypeError(f"no such layer is known here: {type(layer).__name__}")
        activated = False
    return hidden


def _convolved(layer: EncodecConv1d, hidden: Tensor, *, activated: bool, added: Tensor | None = None) -> Tensor:
    """[B, T, I] → [B, T / stride, O]. added: of the result's shape."""
    conv = layer.conv
    weight: Tensor = conv.weight
    outs, ins, taps = weight.shape
    (stride,) = conv.stride
    padding = taps - stride
    left, right = padding - padding // 2, padding // 2
    batch, length, _ = hidden.shape
    if stride > 1:
        block, tail = stride, 0
        matrices = weight.permute(2, 1, 0).reshape(taps // stride, stride * ins, outs)
        per_row = 1
    else:
        block = _block(length, ins, outs, taps)
        tail = block - padding if block > 1 else 0
        matrices = weight.permute(2, 1, 0) if block == 1 else toeplitz(weight, block)
        per_row = block
    start = conv.bias.repeat(per_row)
    if added is not None:
        start = (added + conv.bias).reshape(batch, -1, per_row * outs)
    window = Window(left, right, tail, block, activated=activated)
    return _apply(hidden, matrices, start, window).reshape(batch, length // stride, outs)


def _transposed(layer: EncodecConvTranspose1d, hidden: Tensor, *, activated: bool) -> Tensor:
    """[B, T, I] → [B, T · stride, O]. The kernel is of two strides, so each input adds to two blocks."""
    conv = layer.conv
    weight: Tensor = conv.weight
    ins, outs, _ = weight.shape
    (stride,) = conv.stride
    batch, length, _ = hidden.shape
    matrices = weight.reshape(ins, outs, 2, stride).permute(2, 0, 3, 1).reshape(2, ins, stride * outs).flip(0)
    blocks = _apply(hidden, matrices, conv.bias.repeat(stride), Window(1, 1, mirrored=False, activated=activated))
    left = stride - stride // 2
    return blocks.reshape(batch, -1, outs)[:, left : left + length * stride]


def _residual(block: EncodecResnetBlock, hidden: Tensor) -> Tensor:
    _, first, _, second = block.block
    return _convolved(second, _convolved(first, hidden, activated=True), activated=True, added=hidden)


def _block(length: int, ins: int, outs: int, taps: int) -> int:
    """Samples in a block: as many as make `_BLOCK_CHANNELS`, if there are whole blocks and the kernel fits in two."""
    # The ends are a single channel wide: a product of one column is no faster than one of eight.
    block = 8 if min(ins, outs) == 1 else max(1, _BLOCK_CHANNELS // max(ins, outs))
    return block if block >= taps - 1 and length % block == 0 else 1


_apply: Callable[[Tensor, Tensor, Tensor, Window], Tensor] = Taps.apply


def _tensor(value: object) -> Tensor:
    assert isinstance(value, torch.Tensor)
    return value
