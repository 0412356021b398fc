"""SEANet's decoder, the network of EnCodec that turns embedded frames into sound, in plain torch.

From Défossez et al., High Fidelity Neural Audio Compression (2022). Module and parameter names are those of
transformers' `EncodecDecoder`, weight norm fused into `weight`, so that a checkpoint's tensors fit as they are.

Three parts in a row: a convolution, an LSTM with a residual around it, and a stack that raises frames to samples. Only
the LSTM remembers without end. What the two others need of an excerpt's surroundings is known from their shapes
(`receptive_field`), which is all that decoding by windows is built on.

Tensors are float32 [B, channels, time]; time counts frames up to the LSTM and samples at the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LSTMState = tuple[Tensor, Tensor]
"""Hidden and cell states, each [layers, B, D]."""

STEP_BY_STEP_WIDTH = 512  # from this width on, see `LSTM`


@dataclass(frozen=True)
class SeanetShape:
    """The sizes of the decoder, named as in transformers' `EncodecConfig`."""

    hidden_size: int
    num_filters: int
    upsampling_ratios: tuple[int, ...]
    kernel_size: int
    last_kernel_size: int
    residual_kernel_size: int
    num_residual_layers: int
    dilation_growth_rate: int
    compress: int
    num_lstm_layers: int
    use_conv_shortcut: bool

    @property
    def hop(self) -> int:
        """Samples in a frame."""
        return math.prod(self.upsampling_ratios)


class Layer(nn.Module):
    """One in a stack of layers, none of which remembers anything."""

    def receptive_field(self, first: int, last: int) -> tuple[int, int]:
        """The first and last of the inputs that the outputs first … last depend on."""
        return first, last


class Conv(Layer):
    """A convolution that keeps the length, its input padded by reflection."""

    def __init__(self, num_in: int, num_out: int, kernel_size: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(num_in, num_out, kernel_size, dilation=dilation)
        padding = (kernel_size - 1) * dilation
        self.right = padding // 2
        self.left = padding - self.right

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(_pad_by_reflection(x, self.left, self.right))
        return y

    def receptive_field(self, first: int, last: int) -> tuple[int, int]:
        # Reflection folds one side over the other, so near an end both sides are as wide as the wider one.
        return first - self.left, last + self.left


class Upsample(Layer):
    """A transposed convolution whose kernel is two strides long, cut so that one input becomes `stride` outputs.

    So each block of `stride` outputs is made of two inputs, that before it and that after it: one matrix product.
    torch's own transposed convolution takes three times as long where there are many channels and few inputs.
    """

    def __init__(self, num_in: int, num_out: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(num_in, num_out, 2 * stride, stride)
        self.stride = stride
        self.left = stride - stride // 2

    @cached_property
    def matrix(self) -> tuple[Tensor, Tensor]:
        """[stride · num_out, 2 · num_in] and the bias [stride · num_out, 1]; of the weights there are at first use."""
        assert self.conv.bias is not None
        after, before = self.conv.weight.chunk(2, dim=-1)
        weight = torch.cat([before, after]).permute(2, 1, 0).flatten(0, 1)
        return weight.contiguous(), self.conv.bias.repeat(self.stride).unsqueeze(1)

    def forward(self, x: Tensor) -> Tensor:
        num_inputs = x.shape[-1]
        padded = F.pad(x, (1, 1))
        pairs = torch.cat([padded[..., :-1], padded[..., 1:]], dim=1)
        weight, bias = self.matrix
        blocks = torch.baddbmm(bias.unsqueeze(0), weight.expand(len(x), -1, -1), pairs)
        y = blocks.view(len(x), self.stride, -1, num_inputs + 1).permute(0, 2, 3, 1).flatten(2)
        return y[..., self.left : self.left + num_inputs * self.stride]

    def receptive_field(self, first: int, last: int) -> tuple[int, int]:
        # Output i is made of the inputs (i + left) // stride and the one before.
        return (first + self.left) // self.stride - 1, (last + self.left) // self.stride


class Elu(Layer):
    def forward(self, x: Tensor) -> Tensor:
        return F.elu(x)


class Residual(Layer):
    """A dilated convolution into fewer channels and a pointwise one back, added to the input."""

    def __init__(self, width: int, dilation: int, shape: SeanetShape) -> None:
        super().__init__()
        inner = width // shape.compress
        dilated = Conv(width, inner, shape.residual_kernel_size, dilation)
        self.block = nn.ModuleList([Elu(), dilated, Elu(), Conv(inner, width, 1)])
        self.shortcut = Conv(width, width, 1) if shape.use_conv_shortcut else nn.Identity()
        self.left = dilated.left

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x
        for layer in self.block:
            y = layer(y)
        shortcut: Tensor = self.shortcut(x)
        return shortcut + y

    def receptive_field(self, first: int, last: int) -> tuple[int, int]:
        return first - self.left, last + self.left


class LSTM(nn.Module):
    """x [B, D, T] → x + LSTM(x), and the state after the last frame.

    torch's own lays its weights out anew in every call, which takes longer than a window's steps where they are wide
    (width 1024, one thread: 58 ms of which 18 are needed for 9 frames); where they are narrow it is the faster one.
    """

    def __init__(self, width: int, num_layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, num_layers)

    def forward(self, x: Tensor, state: LSTMState | None = None) -> tuple[Tensor, LSTMState]:
        inputs = x.permute(2, 0, 1)
        step_by_step = x.shape[0] == 1 and self.lstm.hidden_size >= STEP_BY_STEP_WIDTH
        y, state_after = self._step_by_step(inputs, state) if step_by_step else self.lstm(inputs, state)
        return y.permute(1, 2, 0) + x, state_after

    def _step_by_step(self, inputs: Tensor, state: LSTMState | None) -> tuple[Tensor, LSTMState]:
        """As torch's own, for a batch of one. inputs: [T, 1, D]."""
        if state is None:
            zeros = inputs.new_zeros(self.lstm.num_layers, 1, self.lstm.hidden_size)
            state = zeros, zeros
        x, after = inputs[:, 0], []
        for weights, hidden, cell in zip(self.lstm.all_weights, state[0][:, 0], state[1][:, 0], strict=True):
            of_input, of_hidden, input_bias, hidden_bias = weights
            outputs = []
            for gates_of_input in torch.addmm(input_bias + hidden_bias, x, of_input.T):
                into, keep, new, out = torch.addmv(gates_of_input, of_hidden, hidden).chunk(4)
                cell = keep.sigmoid() * cell + into.sigmoid() * new.tanh()
                hidden = out.sigmoid() * cell.tanh()
                outputs.append(hidden)
            x = torch.stack(outputs)
            after.append((hidden, cell))
        hiddens, cells = (torch.stack(each).unsqueeze(1) for each in zip(*after, strict=True))
        return x.unsqueeze(1), (hiddens, cells)


class SeanetDecoder(nn.Module):
    """The whole, in the three parts that streaming tells apart: `before_lstm`, `lstm`, `after_lstm`.

    Attributes:
        width: D, of the LSTM.
        context_before_lstm, context_after_lstm: how many frames left and right of its own a frame depends on in these
            parts; MusicGen's are (3, 3) and (1, 1).
    """

    def __init__(self, shape: SeanetShape) -> None:
        super().__init__()
        self.width = shape.num_filters * 2 ** len(shape.upsampling_ratios)
        first = Conv(shape.hidden_size, self.width, shape.kernel_size)
        stack: list[Layer] = []
        width = self.width
        for ratio in shape.upsampling_ratios:
            stack += [Elu(), Upsample(width, width // 2, ratio)]
            width //= 2
            stack += [Residual(width, shape.dilation_growth_rate**i, shape) for i in range(shape.num_residual_layers)]
        stack += [Elu(), Conv(width, 1, shape.last_kernel_size)]
        self.layers = nn.ModuleList([first, LSTM(self.width, shape.num_lstm_layers), *stack])
        self.context_before_lstm = _context([first], samples_per_frame=1)
        self.context_after_lstm = _context(stack, samples_per_frame=shape.hop)

    def before_lstm(self, embedded: Tensor) -> Tensor:
        """[B, hidden_size, T] → [B, D, T]."""
        x: Tensor = self.layers[0](embedded)
        return x

    def lstm(self, x: Tensor, state: LSTMState | None) -> tuple[Tensor, LSTMState]:
        """[B, D, T] → [B, D, T] and the state after it. state None: all zeros, the start of a clip."""
        y, state_after = self.layers[1](x, state)
        return y, state_after

    def after_lstm(self, x: Tensor) -> Tensor:
        """[B, D, T] → [B, 1, T · hop]."""
        for layer in self.layers[2:]:
            x = layer(x)
        return x


def _context(layers: Sequence[Layer], samples_per_frame: int) -> tuple[int, int]:
    """How many frames left and right of its own a frame of the layers' output depends on."""
    first, last = 0, samples_per_frame - 1
    for layer in reversed(layers):
        first, last = layer.receptive_field(first, last)
    return -first, last


def _pad_by_reflection(x: Tensor, left: int, right: int) -> Tensor:
    """An input too short to be reflected is first lengthened with zeros on the right, as EnCodec does; the padding
    that goes beyond them is cut off again."""
    if left == right == 0:
        return x
    missing = max(0, max(left, right) - x.shape[-1] + 1)
    if missing:
        x = F.pad(x, (0, missing))
    padded = F.pad(x, (left, right), mode="reflect")
    return padded[..., : padded.shape[-1] - missing]
