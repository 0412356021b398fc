from __future__ import annotations

import torch
from transformers import EncodecModel

from etude.codec.training.averaging import Average
from tests.etude.codec.conftest import TINY


def filled(value: float) -> EncodecModel:
    model = EncodecModel(TINY.config())
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.fill_(value)
    return model


def test_the_average_is_a_copy_that_comes_after() -> None:
    model = filled(0.0)
    average = Average(model, 0.5)
    for value in (1.0, 1.0, 1.0):
        model.load_state_dict(filled(value).state_dict())
        average.follow(model)
    followed = average.model.state_dict()["quantizer.layers.0.codebook.embed"]
    # 0.1, 2/11 and 3/12 are kept of the three, each less than a half.
    assert torch.allclose(followed, torch.full_like(followed, 1 - 0.1 * 2 / 11 * 3 / 12))
    assert float(model.state_dict()["quantizer.layers.0.codebook.embed"][0, 0]) == 1.0


def test_a_saved_average_goes_on_as_it_was() -> None:
    model, later = filled(0.0), filled(2.0)
    one, other = Average(model, 0.9), Average(later, 0.9)
    one.follow(later)
    other.load_state_dict(one.state_dict())
    one.follow(later)
    other.follow(later)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])
