"""The fast halves against transformers' own, which are the slow and obvious way."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import EncodecConfig, EncodecModel

from etude.codec.geometry import Geometry
from etude.codec.training.halves import decode, encode
from tests.etude.codec.conftest import TINY, notes

# Odd and even ratios, and widths whose blocks are of one sample and of several.
GEOMETRIES = [TINY, Geometry(ratios=(4, 2, 2), filters=8, latent_width=6, codebook_size=16), Geometry(filters=20)]


def codec(geometry: Geometry) -> EncodecModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = EncodecModel(geometry.config())
        # New biases are small, and hide what is wrong with them.
        for name, parameter in model.named_parameters():
            if "bias" in name:
                torch.nn.init.normal_(parameter, std=0.2)
    return model


def gradients(model: EncodecModel, loss: Tensor) -> list[Tensor]:
    learned = [p for name, p in model.named_parameters() if not name.startswith("quantizer")]
    return list(torch.autograd.grad(loss, learned))


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("frames", [4, 9])
def test_both_halves_are_what_transformers_makes_of_them(geometry: Geometry, frames: int) -> None:
    model = codec(geometry)
    sound = notes(3, frames * geometry.hop)
    with torch.no_grad():
        latents = model.encoder(sound[:, None])
        torch.testing.assert_close(encode(model, sound), latents, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(decode(model, latents), model.decoder(latents)[:, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_every_weight_gets_the_gradient_that_transformers_gives_it(geometry: Geometry) -> None:
    model = codec(geometry)
    sound = notes(2, 4 * geometry.hop)
    direction = torch.randn(sound.shape, generator=torch.Generator().manual_seed(1))
    wanted = gradients(model, (model.decoder(model.encoder(sound[:, None]))[:, 0] * direction).sum())
    found = gradients(model, (decode(model, encode(model, sound)) * direction).sum())
    for one, other in zip(wanted, found, strict=True):
        torch.testing.assert_close(other, one, atol=1e-4 * float(one.abs().max()) + 1e-9, rtol=1e-3)


def test_a_layer_that_is_not_known_is_an_error() -> None:
    config = EncodecConfig(num_filters=4, upsampling_ratios=[2, 2], norm_type="weight_norm")
    model = EncodecModel(config)
    model.encoder.layers[0] = torch.nn.Identity()
    with pytest.raises(TypeError, match="Identity"):
        encode(model, torch.zeros(1, 8))
