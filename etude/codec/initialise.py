"""A new codec that already works: its convolutions are a lapped transform of the sound, and its inverse.

From random weights training hums noise for thousands of steps before a first note is heard. From these it starts with
the strongest components of the sound, phases and all, and everything else still to be learned.

How a network of ELUs is made linear: a component x is held by two channels, c + x and c - x. ELU leaves alone what is
above zero, so their difference is 2x however the rest of the layer is made, exactly for |x| < c and bent gently beyond,
and the constant cancels, at the edges too. Components are scaled to a deviation of `_DEVIATION`, far below c. Residual
branches and LSTMs start by adding nothing. Channels left over start with random weights going in and none coming out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import EncodecModel
from transformers.models.encodec.modeling_encodec import EncodecLSTM, EncodecResnetBlock

from etude.codec.geometry import Geometry
from etude.codec.lapped import LappedTransform, lapped_transform
from etude.codec.weights import Convolution, convolutions, parameters, split

# The constant c above, and the deviation of x.
_OFFSET = 1.0
_DEVIATION = 0.2

# A latent's deviation is its component's to this power, times a factor common to all: between 0, where k-means would
# spend as many codes on a faint overtone as on the bass, and 1, where it would hear nothing but the bass.
_LATENT_POWER = 0.5


def new_codec(geometry: Geometry, sound: Tensor, *, seed: int, components: int | None = None) -> EncodecModel:
    """An EncodecModel whose encoder and decoder are a lapped transform and its inverse; its codebooks are zero.

    sound: [B, samples] of what it will code, the more the better. seed: of the weights that don't matter yet.
    components: in how many latents the transform is, the first ones; None: in all that there are channels for.
    Raises ValueError for silence, from which nothing can be learned.
    """
    if not sound.any():
        raise ValueError("a codec can't be made from silence")
    transform = lapped_transform(geometry, sound, components)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = EncodecModel(geometry.config())
        _realise(model, transform)
    return model


@torch.no_grad()
def _realise(model: EncodecModel, transform: LappedTransform) -> None:
    # Factors that bring components from their own scale to that of the channels, at every depth.
    floor = 1e-3 * transform.deviation
    scales = [torch.tensor([_DEVIATION / transform.deviation])]
    scales += [_DEVIATION / stage.deviation.clamp(min=floor).float() for stage in transform.stages]
    deviation = transform.stages[-1].deviation.clamp(min=floor).float()
    to_latents = deviation**_LATENT_POWER / deviation
    to_latents = to_latents / (deviation * to_latents).square().mean().sqrt()

    first, *between, last = convolutions(model.encoder)
    one = torch.ones(1, 1, 1)
    _write_forward(first, _pairs_out(scales[0][:, None, None] * _centred(one, first)))
    for conv, stage, before, after in zip(between, transform.stages, scales[:-1], scales[1:], strict=True):
        kernel = stage.kernel.float() * after[:, None, None] / before[None, :, None]
        _write_forward(conv, _pairs_out(_pairs_in(kernel)))
    diagonal = torch.diag(to_latents / scales[-1])[:, :, None]
    _write_forward(last, _pairs_in(_centred(diagonal, last)), offset=0.0, spare=0.0)

    first, *between, last = convolutions(model.decoder)
    diagonal = torch.diag(scales[-1] / to_latents)[:, :, None]
    _write_forward(first, _pairs_out(_centred(diagonal, first)))
    backwards = zip(between, transform.stages[::-1], scales[:0:-1], scales[-2::-1], strict=True)
    for conv, stage, before, after in backwards:
        kernel = stage.kernel.float() / before[:, None, None] * after[None, :, None]
        _write_transposed(conv, _pairs_out(_pairs_in(kernel.transpose(0, 1))).transpose(0, 1))
    _write_forward(last, _pairs_in(_centred(one / scales[0], last)), offset=0.0)

    for module in model.modules():
        if isinstance(module, EncodecResnetBlock):
            _silence(module.block[-1].conv)
        elif isinstance(module, EncodecLSTM):
            _silence_lstm(module.lstm)


def _centred(kernel: Tensor, conv: Convolution) -> Tensor:
    """A kernel of one tap, in the middle of as many taps as the convolution has."""
    (taps,) = conv.kernel_size
    return nn.functional.pad(kernel, (taps // 2, taps - 1 - taps // 2))


def _pairs_out(kernel: Tensor) -> Tensor:
    """Every output twice, the second time negated: [out, in, taps] → [2 · out, in, taps]."""
    return torch.cat([kernel, -kernel])


def _pairs_in(kernel: Tensor) -> Tensor:
    """Every input taken as half the difference of two channels: [out, in, taps] → [out, 2 · in, taps]."""
    return torch.cat([kernel, -kernel], dim=1) / 2


def _write_forward(conv: Convolution, kernel: Tensor, *, offset: float = _OFFSET, spare: float = 1.0) -> None:
    """Makes the kernel [out, in, taps] that of a convolution's first channels; the rest of its outputs stay random.

    offset: the bias of these outputs. spare: a factor of the others'.
    """
    length, direction, bias = parameters(conv)
    used, inputs, _ = kernel.shape
    direction[:used] = 0
    direction[:used, :inputs] = kernel
    split(conv)
    length[used:] *= spare
    bias.zero_()
    bias[:used] = offset


def _write_transposed(conv: Convolution, kernel: Tensor) -> None:
    """Makes the kernel [in, out, taps] that of the first channels of a transposed convolution.

    The rest of its inputs go nowhere; the rest of its outputs are random mixtures of the inputs used.
    """
    length, direction, bias = parameters(conv)
    used, outputs, _ = kernel.shape
    # About unit variance together, as the others have.
    direction.normal_(std=(direction.shape[0] * 2) ** -0.5)
    direction[:used, :outputs] = kernel
    split(conv)
    length[used:] = 0
    bias.zero_()
    bias[:outputs] = _OFFSET


def _silence(conv: Convolution) -> None:
    """Makes a convolution give zeros, with directions to grow in."""
    length, _, bias = parameters(conv)
    length.zero_()
    bias.zero_()


def _silence_lstm(lstm: nn.LSTM) -> None:
    """Makes an LSTM give zeros: the last layer's candidates (the third of its four gates) are none."""
    size = lstm.hidden_size
    for name, parameter in lstm.named_parameters():
        if name.endswith(f"_l{lstm.num_layers - 1}"):
            parameter[2 * size : 3 * size] = 0
