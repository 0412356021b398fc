from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.language_model.config import DecoderConfig
from deployments.language_model.engine.engine import Engine
from deployments.language_model.loading import make_decoder
from deployments.language_model.weights import load_weights
from deployments.messages import CodeRequest, Sampling
from deployments.text_encoder.encoder import TextEncoder
from etude import temper as module
from etude.temper import temper
from tests.tiny import tiny_checkpoint

NUM_FRAMES = 30


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return tiny_checkpoint(tmp_path / "old", vocab=32, codec_width=8)


def played(folder: Path, temperature: float) -> np.ndarray:
    checkpoint = Checkpoint.open(folder)
    (states,) = TextEncoder.from_checkpoint(checkpoint).encode(["a march"])
    config = DecoderConfig.from_transformers(checkpoint.config)
    decoder = make_decoder(config, load_weights(checkpoint), "float32", NUM_FRAMES, num_threads=1)
    engine = Engine(decoder, num_slots=1, max_frames=NUM_FRAMES)
    engine.add(CodeRequest("clip", states, NUM_FRAMES, 7, Sampling(temperature=temperature)))
    parts = []
    while not engine.idle:
        parts += [frames.codes for frames in engine.step()]
    engine.close()
    return np.concatenate(parts, axis=1)


def test_it_plays_at_one_what_was_played_at_the_temperature(tmp_path: Path, old: Path) -> None:
    temper(old, tmp_path / "new", [0.5])
    np.testing.assert_array_equal(played(tmp_path / "new", 1.0), played(old, 0.5))
    assert (played(tmp_path / "new", 1.0) != played(old, 1.0)).any()


def test_all_else_stays(tmp_path: Path, old: Path) -> None:
    module.main([str(old), str(tmp_path / "new"), "--temperature", "0.5", "1", "1", "2"])
    before, after = (Checkpoint.open(each).tensors("language_model", torch.float32) for each in (old, tmp_path / "new"))
    factors = {f"decoder.lm_heads.{i}.weight": factor for i, factor in enumerate((2.0, 1.0, 1.0, 0.5))}
    assert before.keys() == after.keys() >= factors.keys()
    assert all(torch.equal(after[name], tensor * factors.get(name, 1.0)) for name, tensor in before.items())
    assert {path.name for path in old.iterdir()} == {path.name for path in (tmp_path / "new").iterdir()}


@pytest.mark.parametrize(
    ("temperatures", "complaint"),
    [(["0"], "above 0, not 0"), (["1", "1"], "4 codebooks: give one temperature for all, or one for each")],
)
def test_what_is_no_temperature_is_refused(
    tmp_path: Path, old: Path, capsys: pytest.CaptureFixture[str], temperatures: list[str], complaint: str
) -> None:
    with pytest.raises(SystemExit):
        module.main([str(old), str(tmp_path / "new"), "--temperature", *temperatures])
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_nothing_is_written_over(tmp_path: Path, old: Path) -> None:
    with pytest.raises(FileExistsError, match="exists already"):
        temper(old, tmp_path, [0.5])
