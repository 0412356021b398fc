from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import EncodecModel

from etude.codec import refit as module
from etude.codec.initialise import new_codec
from etude.codec.quantiser import fit, quantise
from etude.shards import Clip, write_shard
from tests.etude.codec.conftest import TINY, notes


@pytest.fixture(scope="module")
def fitted() -> EncodecModel:
    """Fitted to noise, which is not what it will hear."""
    model = new_codec(TINY, notes(2, 12800), seed=0).eval()
    noise = torch.randn(800, model.config.hidden_size, generator=torch.Generator().manual_seed(0))
    fit(model.quantizer, noise, torch.Generator().manual_seed(0))
    return model


@pytest.fixture
def codec(fitted: EncodecModel) -> EncodecModel:
    return copy.deepcopy(fitted)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    sounds = (notes(32, 8 * TINY.sample_rate).numpy() * 20000).astype(np.int16)
    write_shard(folder, range(32), [Clip(sound, (), {}) for sound in sounds])
    return folder


def test_codes_fit_the_new_music_and_all_else_stays(tmp_path: Path, codec: EncodecModel, data: Path) -> None:
    codec.save_pretrained(tmp_path / "old")
    module.main([str(tmp_path / "old"), str(tmp_path / "new"), "--data", str(data), "--crops", "16"])
    new = EncodecModel.from_pretrained(tmp_path / "new", dtype=torch.float32).eval()
    for name, tensor in codec.state_dict().items():
        if not name.startswith("quantizer."):
            assert torch.equal(tensor, new.state_dict()[name])
    sound = notes(4, 4 * TINY.sample_rate)
    with torch.no_grad():
        latents = codec.encoder(sound[:, None])
        left = [float((quantise(m.quantizer, latents).latents - latents).square().mean()) for m in (codec, new)]
    assert left[1] < 0.5 * left[0]
    with pytest.raises(SystemExit):
        module.main([str(tmp_path / "old"), str(tmp_path / "new"), "--data", str(data)])


def test_what_was_fitted_hardly_moves_when_it_is_fitted_again(codec: EncodecModel, data: Path) -> None:
    """k-means goes on from the codes that are there, so a code means what it meant."""
    module.refit(codec, [data], crops=16, iterations=20, seed=0)
    once = codec.quantizer.layers[0].codebook.embed.clone()
    module.refit(codec, [data], crops=16, iterations=1, seed=0)
    moved = (codec.quantizer.layers[0].codebook.embed - once).norm(dim=1) / once.norm(dim=1)
    assert float(moved.median()) < 0.05


def test_values_are_of_16_bits(codec: EncodecModel, data: Path) -> None:
    module.refit(codec, [data], crops=8, iterations=2, seed=0)
    embed = codec.quantizer.layers[0].codebook.embed
    assert torch.equal(embed, embed.bfloat16().float())


def test_a_folder_without_music_is_refused(
    tmp_path: Path, codec: EncodecModel, capsys: pytest.CaptureFixture[str]
) -> None:
    codec.save_pretrained(tmp_path / "old")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit):
        module.main([str(tmp_path / "old"), str(tmp_path / "new"), "--data", str(tmp_path / "empty")])
    assert not (tmp_path / "new").exists()
    assert "empty" in capsys.readouterr().err
