from __future__ import annotations

import torch

from etude.codec.training.adversary import Adversary
from etude.codec.training.discriminator import (
    Discriminator,
    adversarial_loss,
    discriminator_loss,
    feature_loss,
)
from tests.etude.codec.conftest import notes

CPU = torch.device("cpu")


def noise(like: torch.Tensor) -> torch.Tensor:
    return 0.1 * torch.randn(like.shape, generator=torch.Generator().manual_seed(0))


def test_it_learns_to_tell_noise_from_notes() -> None:
    adversary = Adversary(5e-3, 0, CPU)
    sound = notes(2, 6400)
    losses = [float(adversary.learn(sound, noise(sound))) for _ in range(40)]
    assert losses[-1] < 0.3 < losses[0]
    told = adversary.loss(sound, noise(sound))
    assert float(told["adversarial"]) > 0.5


def test_what_sounds_the_same_has_no_features_to_match() -> None:
    sound = notes(2, 6400)
    with torch.no_grad():
        judged = Discriminator()(sound)
    assert float(feature_loss(judged, judged)) == 0


def test_losses_are_nothing_for_whoever_is_right_and_one_for_whoever_is_wrong() -> None:
    yes, no = [[torch.ones(1, 1, 2, 2)]], [[torch.zeros(1, 1, 2, 2)]]
    assert float(discriminator_loss(yes, no)) == 0
    assert float(adversarial_loss(yes)) == 0
    assert float(adversarial_loss(no)) == 1


def test_the_codec_s_gradient_does_not_reach_the_discriminator() -> None:
    adversary = Adversary(1e-3, 0, CPU)
    sound = notes(2, 6400)
    made = noise(sound).requires_grad_()
    before = {name: tensor.clone() for name, tensor in adversary.state_dict()["discriminator"].items()}
    terms = adversary.loss(sound, made)
    (terms["adversarial"] + terms["features"]).backward()
    assert made.grad is not None
    assert made.grad.abs().sum() > 0
    after = adversary.state_dict()["discriminator"]
    assert all(torch.equal(before[name], after[name]) for name in before)
