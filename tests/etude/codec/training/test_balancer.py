from __future__ import annotations

import pytest
import torch
from torch import Tensor

from etude.codec.training.balancer import Balancer


def losses(sound: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
    return {"left": scale * sound[0, :4].sum(), "right": 1000 * sound[0, 4:].square().sum(), "none": sound.sum()}


def sound_of(value: float) -> Tensor:
    return torch.full((1, 8), value, requires_grad=True)


def test_losses_count_by_their_weights_whatever_their_units() -> None:
    balancer = Balancer({"left": 3.0, "right": 1.0, "none": 0.0})
    sound = sound_of(0.5)
    gradient = balancer.gradient(losses(sound), sound)
    assert float(gradient[0, :4].norm()) == pytest.approx(0.75)
    assert float(gradient[0, 4:].norm()) == pytest.approx(0.25)


def test_a_loss_with_nothing_to_say_is_not_blown_up() -> None:
    balancer = Balancer({"left": 1.0, "right": 1.0, "none": 0.0})
    for value in (0.5, 1e-6):
        sound = sound_of(value)
        gradient = balancer.gradient(losses(sound), sound)
    assert float(gradient[0, 4:].norm()) < 1e-4


def test_one_step_counts_twice_as_much_as_usual_at_most() -> None:
    balancer = Balancer({"left": 1.0, "right": 1.0, "none": 0.0})
    sound = sound_of(0.5)
    balancer.gradient(losses(sound), sound)
    gradient = balancer.gradient(losses(sound, scale=1e6), sound)
    assert float(gradient[0, :4].norm()) <= 1.0 + 1e-6


def test_what_was_usual_is_saved() -> None:
    first, second = (Balancer({"left": 1.0, "right": 1.0, "none": 0.0}) for _ in range(2))
    sound = sound_of(0.5)
    first.gradient(losses(sound), sound)
    second.load_state_dict(first.state_dict())
    later = sound_of(0.1)
    assert torch.equal(first.gradient(losses(later), later), second.gradient(losses(later), later))


def test_a_gradient_that_is_not_finite_is_named() -> None:
    balancer = Balancer({"bad": 1.0})
    sound = sound_of(0.0)
    with pytest.raises(FloatingPointError, match="bad"):
        balancer.gradient({"bad": sound.sum() * float("nan")}, sound)
