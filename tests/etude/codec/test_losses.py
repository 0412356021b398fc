from __future__ import annotations

import math

import pytest
import torch

from etude.codec.losses import WEIGHTS, ReconstructionLoss, weighted
from etude.codec.spectra import FLOOR, Spectrum
from tests.etude.codec.conftest import notes


def test_the_loss_of_the_same_sound_is_nothing() -> None:
    sound = notes(2, 6400)
    terms = ReconstructionLoss(32000)(sound, sound)
    assert set(terms) == set(WEIGHTS) - {"commitment"}
    assert all(float(term) == 0 for term in terms.values())


def test_relative_terms_are_one_for_silence_and_do_not_depend_on_the_level() -> None:
    sound = notes(2, 32000)
    loss = ReconstructionLoss(32000)
    for level in (1.0, 0.5):
        terms = loss(level * sound, torch.zeros_like(sound))
        assert float(terms["wave"]) == pytest.approx(1, abs=0.1)


def test_the_nearer_the_smaller() -> None:
    sound = notes(2, 6400)
    noise = torch.randn(sound.shape, generator=torch.Generator().manual_seed(0))
    loss = ReconstructionLoss(32000)
    losses = [float(weighted(loss(sound, sound + level * noise))) for level in (0.001, 0.01, 0.1)]
    assert losses == sorted(losses)


@pytest.mark.parametrize("sample_rate", [16000, 32000])
def test_the_gradient_at_silence_is_finite(sample_rate: int) -> None:
    silence = torch.zeros(2, 6400, requires_grad=True)
    weighted(ReconstructionLoss(sample_rate)(notes(2, 6400), silence)).backward()
    assert silence.grad is not None
    assert silence.grad.isfinite().all()


def test_a_full_scale_sine_has_a_magnitude_of_one_half() -> None:
    time_s = torch.arange(8000) / 32000
    sine = torch.sin(2 * math.pi * 1000 * time_s)[None]
    magnitude = Spectrum(32000, 2048, 128).magnitude(sine)[0, :, 5:-5]
    assert magnitude.argmax(0).unique().tolist() == [64]
    torch.testing.assert_close(magnitude[64], torch.full_like(magnitude[64], 0.5), atol=1e-3, rtol=0)


def test_the_mel_bands_of_a_flat_spectrum_are_flat() -> None:
    spectrum = Spectrum(32000, 512, 64)
    log_mel = spectrum.log_mel(torch.full((1, 257, 3), 0.1))
    torch.testing.assert_close(log_mel, torch.full((1, 64, 3), math.log(0.1 + FLOOR)))
