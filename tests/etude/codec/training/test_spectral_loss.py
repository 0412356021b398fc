from __future__ import annotations

import pytest
import torch

from etude.codec.training.spectral_loss import SpectralLoss
from tests.etude.codec.conftest import notes


def test_a_sound_is_no_way_from_itself() -> None:
    sound = notes(2, 6400)
    terms = SpectralLoss(32000)(sound, sound)
    assert set(terms) == {"log_mel", "log_magnitude", "convergence"}
    assert all(float(term) == pytest.approx(0, abs=1e-3) for term in terms.values())


def test_silence_in_place_of_a_sound_converges_to_one() -> None:
    sound = notes(2, 32000)
    assert float(SpectralLoss(32000)(sound, torch.zeros_like(sound))["convergence"]) == pytest.approx(1, abs=0.05)


def test_every_term_falls_as_noise_gets_fainter() -> None:
    sound = notes(2, 6400)
    noise = torch.randn(sound.shape, generator=torch.Generator().manual_seed(0))
    found = [SpectralLoss(32000)(sound, sound + level * noise) for level in (0.1, 0.01, 0.001)]
    for name in found[0]:
        values = [float(terms[name]) for terms in found]
        assert values == sorted(values, reverse=True)


def test_gradients_are_finite_where_nothing_sounds_and_where_nothing_differs() -> None:
    for wanted in (torch.zeros(1, 6400), notes(1, 6400)):
        made = wanted.clone().requires_grad_()
        torch.stack(list(SpectralLoss(32000)(wanted, made).values())).sum().backward()
        assert made.grad is not None
        assert made.grad.isfinite().all()


def test_noise_that_repeats_with_every_frame_is_further_from_noise_than_other_noise_is() -> None:
    draw = torch.Generator().manual_seed(0)
    noise, other = (0.1 * torch.randn(2, 32000, generator=draw) for _ in range(2))
    comb = 0.1 * torch.randn(2, 640, generator=draw).repeat(1, 50)
    loss = SpectralLoss(32000)
    assert float(loss(noise, comb)["log_magnitude"]) > 1.3 * float(loss(noise, other)["log_magnitude"])
