"""A convolution over time as a few products of matrices, with what comes before it in the same pass.

Next to the sound EnCodec has few channels and many samples. There a CPU spends most of a convolution on moving memory:
padding, activation, reordering, adding. Here samples are rows, channels columns [B, T, C], and several samples in a
row count as one of more channels, so that products are of a shape that a CPU is good at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Window:
    """left, right: samples added at the ends, mirrored, or zeros where not `mirrored`. tail: zeros added after these.
    block: samples that count as one. activated: whether ELU comes first.
    """

    left: int
    right: int
    tail: int = 0
    block: int = 1
    mirrored: bool = True
    activated: bool = True


class Taps(torch.autograd.Function):
    """x [B, T, I], weight [P, block · I, N], start → [B, M, N]: start + Σ_p rows m + p of the padded x times weight p.

    start: what can be added to [B, M, N], such as a bias [N]. M is the number of blocks in the padded x, less P - 1.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, start: Tensor, window: Window) -> Tensor:
        batch, length, channels = x.shape
        left, right = window.left, window.right
        end = left + length
        padded = x.new_empty(batch, end + right + window.tail, channels)
        middle = padded[:, left:end]
        if window.activated:
            torch.ops.aten.elu.out(x, out=middle)
        else:
            middle.copy_(x)
        if window.mirrored:
            padded[:, :left] = middle[:, 1 : left + 1].flip(1)
            padded[:, end : end + right] = middle[:, length - 1 - right : length - 1].flip(1)
            padded[:, end + right :] = 0
        else:
            padded[:, :left] = 0
            padded[:, end:] = 0
        rows = padded.view(batch, -1, window.block * channels)
        num_out = rows.shape[1] - len(weight) + 1
        out = start.expand(batch, num_out, weight.shape[2]).contiguous()
        if out.data_ptr() == start.data_ptr():
            out = out.clone()
        for place, matrix in enumerate(weight):
            out.baddbmm_(rows[:, place : place + num_out], matrix.expand(batch, -1, -1))
        ctx.save_for_backward(padded, weight)
        ctx.window, ctx.start_shape = window, start.shape
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        gradient = gradients[0].contiguous()
        padded, weight = ctx.saved_tensors
        window: Window = ctx.window
        batch, num_out, _ = gradient.shape
        rows = padded.view(batch, -1, weight.shape[1])
        of_weight = torch.stack(
            [
                torch.bmm(rows[:, place : place + num_out].transpose(1, 2), gradient).sum(0)
                for place in range(len(weight))
            ]
        )
        of_start = gradient.sum_to_size(ctx.start_shape)
        if not ctx.needs_input_grad[0]:
            return None, of_weight, of_start, None
        of_padded = torch.zeros_like(padded)
        of_rows = of_padded.view(rows.shape)
        for place, matrix in enumerate(weight):
            of_rows[:, place : place + num_out].baddbmm_(gradient, matrix.T.expand(batch, -1, -1))
        left, right = window.left, window.right
        end = padded.shape[1] - right - window.tail
        length = end - left
        middle = of_padded[:, left:end]
        if window.mirrored:
            middle[:, 1 : left + 1] += of_padded[:, :left].flip(1)
            middle[:, length - 1 - right : length - 1] += of_padded[:, end : end + right].flip(1)
        if not window.activated:
            return middle, of_weight, of_start, None
        of_x = torch.ops.aten.elu_backward(middle, 1, 1, 1, True, padded[:, left:end])
        return of_x, of_weight, of_start, None


def toeplitz(weight: Tensor, block: int) -> Tensor:
    """A convolution of stride 1 between blocks: [O, I, k] → [2, block · I, block · O]. block: at least k - 1."""
    outs, ins, taps = weight.shape
    place = torch.arange(2 * block)[:, None] - torch.arange(block)
    # One column more than there are taps, of zeros.
    place = torch.where((place >= 0) & (place < taps), place, torch.tensor(taps)).to(weight.device)
    spread = torch.nn.functional.pad(weight, (0, 1))[:, :, place]
    return spread.reshape(outs, ins, 2, block, block).permute(2, 3, 1, 4, 0).reshape(2, block * ins, block * outs)
