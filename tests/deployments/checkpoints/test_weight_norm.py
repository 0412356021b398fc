from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from deployments.checkpoints.config import CheckpointError
from deployments.checkpoints.tensor_files import fuse_weight_norm


def obvious(length: Tensor, direction: Tensor) -> Tensor:
    """One filter after the other."""
    return torch.stack([g.item() * v / v.pow(2).sum().sqrt() for g, v in zip(length, direction, strict=True)])


@pytest.mark.parametrize(
    "spelling", [("weight_g", "weight_v"), tuple(f"parametrizations.weight.original{i}" for i in (0, 1))]
)
@settings(deadline=None)
@given(shape=st.lists(st.integers(1, 5), min_size=2, max_size=3), seed=st.integers(0, 99))
def test_both_spellings_give_length_times_unit_direction(
    spelling: tuple[str, str], shape: list[int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(shape, generator=generator)
    length = torch.randn([shape[0], *[1] * (len(shape) - 1)], generator=generator)
    fused = fuse_weight_norm({f"conv.{spelling[0]}": length, f"conv.{spelling[1]}": direction})
    assert list(fused) == ["conv.weight"]
    torch.testing.assert_close(fused["conv.weight"], obvious(length, direction))


@pytest.mark.parametrize("layer", [nn.Conv1d(6, 4, 3), nn.ConvTranspose1d(6, 4, 8, stride=4)])
def test_fused_weights_are_those_torch_computes(layer: nn.Module) -> None:
    normed = nn.utils.parametrizations.weight_norm(layer)
    with torch.no_grad():
        normed.parametrizations.weight.original0.mul_(torch.rand(normed.weight.shape[0], 1, 1) + 0.5)
    fused = fuse_weight_norm({name: tensor.detach() for name, tensor in normed.state_dict().items()})
    assert set(fused) == {"weight", "bias"}
    torch.testing.assert_close(fused["weight"], normed.weight.detach())


def test_sixteen_bits_are_fused_in_thirty_two() -> None:
    direction, length = torch.randn(4, 512, 7).half(), torch.rand(4, 1, 1).half()
    fused = fuse_weight_norm({"weight_g": length, "weight_v": direction})["weight"]
    assert fused.dtype == torch.float16
    assert torch.equal(
        fused, fuse_weight_norm({"weight_g": length.float(), "weight_v": direction.float()})["weight"].half()
    )


def test_other_tensors_pass_untouched() -> None:
    tensors = {"lstm.weight_ih_l0": torch.ones(2), "conv.bias": torch.zeros(1), "conv.weight": torch.ones(1, 1, 1)}
    fused = fuse_weight_norm(tensors)
    assert all(fused[name] is tensor for name, tensor in tensors.items())
    assert fused.keys() == tensors.keys()


@pytest.mark.parametrize("half", ["weight_g", "weight_v", "parametrizations.weight.original1"])
def test_half_a_weight_norm_is_an_error(half: str) -> None:
    with pytest.raises(CheckpointError, match=r"lacks its length or its direction in layers\.3\.conv"):
        fuse_weight_norm({f"layers.3.conv.{half}": torch.ones(2, 2, 2)})
