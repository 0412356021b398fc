"""Who tells reconstructions from sound: small networks on complex spectrograms of several resolutions.

EnCodec's multi-scale STFT discriminator (Défossez et al. 2022, arXiv:2210.13438), with an eighth of its channels and
fewer layers, so that a step on a CPU costs no more than the codec's own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

WINDOWS = (2048, 1024, 512)

_CHANNELS = 8
_SLOPE = 0.2


class Discriminator(nn.Module):
    """One judge for each window. channels: of each of a judge's layers."""

    def __init__(self, windows: tuple[int, ...] = WINDOWS, channels: int = _CHANNELS) -> None:
        super().__init__()
        self.judges = nn.ModuleList([_Judge(window, channels) for window in windows])

    def forward(self, sound: Tensor) -> list[list[Tensor]]:
        """[B, samples] → for each judge what its layers make of it, the verdicts last; 1 for sound, 0 for none."""
        return [judge(sound) for judge in self.judges]


class _Judge(nn.Module):
    """Convolutions over time and frequency [B, C, times, bins], bins halved by each of the first three."""

    hann: Tensor

    def __init__(self, window: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("hann", torch.hann_window(window), persistent=False)
        self.layers = nn.ModuleList(
            [
                weight_norm(nn.Conv2d(2, channels, (3, 8), stride=(1, 4), padding=(1, 2))),
                weight_norm(nn.Conv2d(channels, channels, (3, 8), stride=(1, 2), padding=(1, 3))),
                weight_norm(nn.Conv2d(channels, 2 * channels, (3, 8), stride=(1, 2), padding=(1, 3))),
                weight_norm(nn.Conv2d(2 * channels, 2 * channels, (3, 3), padding=(1, 1))),
                weight_norm(nn.Conv2d(2 * channels, 1, (3, 3), padding=(1, 1))),
            ]
        )

    def forward(self, sound: Tensor) -> list[Tensor]:
        window = len(self.hann)
        spectrum = torch.stft(sound, window, window // 4, window=self.hann, normalized=True, return_complex=True)
        hidden = torch.stack([spectrum.real, spectrum.imag], dim=1).transpose(2, 3)
        found = []
        *inner, last = self.layers
        for layer in inner:
            hidden = F.leaky_relu(layer(hidden), _SLOPE)
            found.append(hidden)
        return [*found, last(hidden)]


def discriminator_loss(real: list[list[Tensor]], made: list[list[Tensor]]) -> Tensor:
    """Least squares (Mao et al. 2017, arXiv:1611.04076): 0.5 where nothing is told apart, 0 where everything is."""
    losses = [
        (1 - true[-1]).square().mean() + false[-1].square().mean() for true, false in zip(real, made, strict=True)
    ]
    return torch.stack(losses).mean()


def adversarial_loss(made: list[list[Tensor]]) -> Tensor:
    """How far verdicts on reconstructions are from those that sound should get."""
    return torch.stack([(1 - judged[-1]).square().mean() for judged in made]).mean()


def feature_loss(real: list[list[Tensor]], made: list[list[Tensor]]) -> Tensor:
    """Feature matching: the mean distance of what inner layers say, against the mean of what they say of sound."""
    distances = [
        (true.detach() - false).abs().mean() / true.detach().abs().mean().clamp(min=1e-6)
        for one, other in zip(real, made, strict=True)
        for true, false in zip(one[:-1], other[:-1], strict=True)
    ]
    return torch.stack(distances).mean()
