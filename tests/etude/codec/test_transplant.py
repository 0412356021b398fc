from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.codec_decoder.codec import Codec, decode
from etude.codec.initialise import new_codec
from etude.codec.transplant import transplant
from tests.etude.codec.conftest import TINY, notes
from tests.tiny import tiny_checkpoint


def test_the_checkpoint_decodes_with_the_new_codec_and_keeps_all_else(tmp_path: Path) -> None:
    old = tiny_checkpoint(tmp_path / "old", vocab=16, codec_width=8)
    codec = new_codec(TINY, notes(2, 12800), seed=0).eval()
    for layer in codec.quantizer.layers:
        layer.codebook.embed.normal_(generator=torch.Generator().manual_seed(0))
    codec.save_pretrained(tmp_path / "codec")
    transplant(old, tmp_path / "codec", tmp_path / "new")

    before, after = Checkpoint.open(old), Checkpoint.open(tmp_path / "new")
    language_model = before.tensors("language_model", torch.float32)
    assert language_model.keys() == after.tensors("language_model", torch.float32).keys()
    assert all(torch.equal(t, after.tensors("language_model", torch.float32)[n]) for n, t in language_model.items())
    assert {path.name for path in old.iterdir()} == {path.name for path in (tmp_path / "new").iterdir()}

    codes = np.random.default_rng(0).integers(16, size=(4, 10))
    with torch.no_grad():
        wanted = codec.decode(torch.from_numpy(codes)[None, None], [None]).audio_values[0]
    np.testing.assert_allclose(decode(Codec.from_checkpoint(after), codes), wanted.numpy(), atol=1e-4)


def test_a_codec_of_other_codes_is_refused(tmp_path: Path) -> None:
    old = tiny_checkpoint(tmp_path / "old", vocab=32)
    new_codec(TINY, notes(2, 12800), seed=0).save_pretrained(tmp_path / "codec")
    with pytest.raises(ValueError, match="codebook_size=16; the checkpoint is for 32"):
        transplant(old, tmp_path / "codec", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="exists already"):
        transplant(tmp_path / "old", tmp_path / "codec", tmp_path)
