from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import EncodecModel

from etude.codec.initialise import new_codec
from etude.codec.training.export import main
from tests.etude.codec.conftest import TINY, notes


def test_a_codec_in_16_bits_sounds_nearly_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codec = new_codec(TINY, notes(4, 12800), seed=0).eval()
    codec.save_pretrained(tmp_path / "codec")
    main([str(tmp_path / "codec"), str(tmp_path / "small")])
    assert "MB" in capsys.readouterr().out
    small = EncodecModel.from_pretrained(tmp_path / "small")
    assert small.dtype == torch.float16
    sound = notes(1, 6400)[:, None]
    with torch.no_grad():
        whole, rounded = (model.decoder(model.encoder(sound)) for model in (codec, small.float().eval()))
    assert float((whole - rounded).norm() / whole.norm()) < 0.02


def test_a_folder_that_is_there_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new_codec(TINY, notes(2, 12800), seed=0).save_pretrained(tmp_path / "codec")
    with pytest.raises(SystemExit):
        main([str(tmp_path / "codec"), str(tmp_path / "codec")])
    assert "not empty" in capsys.readouterr().err
