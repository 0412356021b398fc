from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import EncodecModel

from deployments.checkpoints.tensor_files import fuse_weight_norm
from deployments.codec_decoder.codec import Codec, decode
from etude.codec.geometry import Geometry
from etude.codec.initialise import new_codec
from etude.codec.losses import ReconstructionLoss, weighted
from etude.codec.metrics import reconstruct
from tests.etude.codec.conftest import TINY, notes


def relative_error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("filters", [8, 10, 16])
def test_a_new_codec_already_reconstructs_sound_it_was_not_made_from(filters: int) -> None:
    codec = new_codec(Geometry(filters=filters), notes(8, 64000), seed=0)
    sound = notes(2, 64000, seed=1)
    restored, codes = reconstruct(codec, sound, quantised=False)
    assert codes is None
    assert relative_error(restored[:, 640:-640], sound[:, 640:-640]) < 0.3


def test_the_edges_of_a_clip_are_no_louder_than_the_rest() -> None:
    codec = new_codec(TINY, notes(8, 32000), seed=0)
    sound = notes(2, 32000, seed=1)
    restored, _ = reconstruct(codec, sound, quantised=False)
    middle = restored[:, 640:-640].abs().max()
    assert restored[:, :640].abs().max() <= middle
    assert restored[:, -640:].abs().max() <= middle


@pytest.mark.parametrize("filters", [4, 5, 10, 24])
def test_every_weight_and_gradient_is_finite_and_no_weight_stands_still_for_ever(filters: int) -> None:
    codec = new_codec(TINY.model_copy(update={"filters": filters}), notes(4, 32000), seed=0)
    sound = notes(2, 6400, seed=1)
    loss = ReconstructionLoss(32000)
    optimizer = torch.optim.Adam(codec.parameters(), lr=1e-3)
    before = {name: tensor.detach().clone() for name, tensor in codec.named_parameters()}
    for _ in range(3):
        weighted(loss(sound, reconstruct_with_gradient(codec, sound))).backward()
        assert all(parameter.grad is not None for parameter in codec.parameters())
        assert all(parameter.grad.isfinite().all() for parameter in codec.parameters())  # type: ignore[union-attr]
        optimizer.step()
        optimizer.zero_grad()
    still = [name for name, tensor in codec.named_parameters() if torch.equal(tensor, before[name])]
    assert still == []


def reconstruct_with_gradient(codec: EncodecModel, sound: torch.Tensor) -> torch.Tensor:
    restored: torch.Tensor = codec.decoder(codec.encoder(sound[:, None]))[:, 0]
    return restored


def test_the_same_seed_gives_the_same_weights_and_leaves_the_generator_alone() -> None:
    state = torch.get_rng_state()
    first, second, other = (new_codec(TINY, notes(2, 12800), seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_silence_is_refused() -> None:
    with pytest.raises(ValueError, match="silence"):
        new_codec(TINY, torch.zeros(2, 12800), seed=0)


def test_the_service_decodes_it_as_transformers_does(tmp_path: Path) -> None:
    codec = new_codec(TINY, notes(2, 12800), seed=0).eval()
    for layer in codec.quantizer.layers:
        layer.codebook.embed.normal_(generator=torch.Generator().manual_seed(0))
    codec.save_pretrained(tmp_path)
    tensors = fuse_weight_norm(load_file(tmp_path / "model.safetensors"))
    needed = {name: t for name, t in tensors.items() if name.startswith("decoder.") or name.endswith(".embed")}
    service = Codec(EncodecModel.from_pretrained(tmp_path).config, needed, num_codebooks=4)
    codes = np.random.default_rng(0).integers(16, size=(4, 20))
    with torch.no_grad():
        wanted = codec.decode(torch.from_numpy(codes)[None, None], [None]).audio_values[0]
    np.testing.assert_allclose(decode(service, codes), wanted.numpy(), atol=1e-4)
