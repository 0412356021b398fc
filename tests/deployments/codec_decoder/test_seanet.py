from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from deployments.codec_decoder.codec import Codec
from deployments.codec_decoder.seanet import (
    LSTM,
    STEP_BY_STEP_WIDTH,
    Conv,
    Elu,
    Layer,
    Residual,
    SeanetShape,
    Upsample,
)
from tests.deployments.codec_decoder.random_codec import random_codec


def outputs_moved_by(function: Callable[[Tensor], Tensor], x: Tensor, frame: int) -> set[int]:
    """Which output positions change when one input does."""
    changed = x.clone()
    changed[..., frame] += 1
    moved = (function(changed) != function(x)).any(dim=1)[0]
    return set(moved.nonzero()[:, 0].tolist())


def measured_context(function: Callable[[Tensor], Tensor], num_channels: int) -> tuple[int, int]:
    """How many frames left and right of its own an output frame depends on, found by changing them one at a time."""
    num_frames, middle = 41, 20
    x = torch.randn(1, num_channels, num_frames)
    hop = function(x).shape[-1] // num_frames
    own = set(range(middle * hop, (middle + 1) * hop))
    seen = [frame - middle for frame in range(num_frames) if outputs_moved_by(function, x, frame) & own]
    return -min(seen), max(seen)


@torch.inference_mode()
def test_the_context_is_what_changing_single_frames_shows(any_codec: Codec) -> None:
    network = any_codec.network
    for function, num_channels, context in (
        (network.before_lstm, 16, network.context_before_lstm),
        (network.after_lstm, network.width, network.context_after_lstm),
    ):
        measured = measured_context(function, num_channels)
        assert all(claimed >= seen for claimed, seen in zip(context, measured, strict=True))
        assert max(context) == max(measured)


def test_musicgen_reaches_three_frames_before_the_lstm_and_one_after_it() -> None:
    network = random_codec("musicgen").network
    assert network.context_before_lstm == (3, 3)
    assert network.context_after_lstm == (1, 1)


SHAPE = SeanetShape(
    hidden_size=4,
    num_filters=2,
    upsampling_ratios=(2,),
    kernel_size=7,
    last_kernel_size=7,
    residual_kernel_size=3,
    num_residual_layers=1,
    dilation_growth_rate=2,
    compress=2,
    num_lstm_layers=1,
    use_conv_shortcut=False,
)


@pytest.mark.parametrize(
    "layer",
    [
        Conv(4, 4, 7),
        Conv(4, 4, 4),
        Conv(4, 4, 3, dilation=3),
        Conv(4, 4, 1),
        Upsample(4, 4, 5),
        Upsample(4, 4, 4),
        Elu(),
        Residual(4, 2, SHAPE),
    ],
    ids=lambda layer: type(layer).__name__,
)
@torch.inference_mode()
def test_an_output_depends_on_no_input_beyond_its_layers_reach(layer: Layer) -> None:
    num_inputs = 24
    x = torch.randn(1, 4, num_inputs)
    dependents: dict[int, set[int]] = {}
    for position in range(num_inputs):
        for output in outputs_moved_by(layer, x, position):
            dependents.setdefault(output, set()).add(position)
    for output, inputs in dependents.items():
        first, last = layer.receptive_field(output, output)
        assert first <= min(inputs)
        assert max(inputs) <= last


@pytest.mark.parametrize("stride", [1, 2, 5, 8])
@pytest.mark.parametrize("num_inputs", [1, 2, 30])
@torch.inference_mode()
def test_upsampling_is_torchs_transposed_convolution(stride: int, num_inputs: int) -> None:
    layer = Upsample(6, 3, stride)
    x = torch.randn(2, 6, num_inputs)
    reference = layer.conv(x)[..., layer.left : layer.left + num_inputs * stride]
    torch.testing.assert_close(layer(x), reference)


@pytest.mark.parametrize("num_layers", [1, 2])
@torch.inference_mode()
def test_a_wide_lstm_is_torchs_own_step_by_step(num_layers: int) -> None:
    layer = LSTM(STEP_BY_STEP_WIDTH, num_layers)
    x = torch.randn(1, STEP_BY_STEP_WIDTH, 9)
    state = None
    reference_state = None
    for part in x.split([4, 1, 4], dim=-1):
        reference, reference_state = layer.lstm(part.permute(2, 0, 1), reference_state)
        y, state = layer(part, state)
        torch.testing.assert_close(y, reference.permute(1, 2, 0) + part)
        torch.testing.assert_close(state, reference_state)
