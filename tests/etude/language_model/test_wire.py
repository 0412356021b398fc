from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from deployments.checkpoints.checkpoint import Checkpoint
from etude import wire as module
from etude.language_model import pulse
from etude.language_model.code_shards import write_code_shard
from tests.etude.language_model.conftest import VOCAB, random_clips
from tests.tiny import tiny_checkpoint


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "codes"
    folder.mkdir()
    write_code_shard(folder, "a", random_clips((30, 40)))
    return folder


def a_checkpoint(tmp_path: Path, heads: int, name: str = "old") -> Path:
    return tiny_checkpoint(
        tmp_path / name, vocab=VOCAB, width=256, heads=heads, ffn=128, text_width=64, ratios=(5, 2), codec_width=8
    )


def test_only_what_is_wired_changes(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_NUM_TEXTS", 300)
    monkeypatch.setattr(module, "_NUM_HELD_OUT", 100)
    # An encoder that nobody taught says nothing of these clips, which have no score either.
    monkeypatch.setattr(module, "_phases", lambda batch, *_: torch.ones(2, batch.labels.shape[2], 2))
    monkeypatch.setattr(pulse, "_STEPS", 10)
    command = [str(a_checkpoint(tmp_path, 4)), str(tmp_path / "new"), "--data", str(data)]
    module.main(command)
    found = json.loads(capsys.readouterr().out)
    # A random encoder's last state tells something of its text all the same.
    assert found.keys() == {"beat", "beat_where_none_is_named", "key", "phase_missed"}
    assert 0.5 < found["key"] <= 1
    old, new = Checkpoint.open(tmp_path / "old"), Checkpoint.open(tmp_path / "new")
    for part in ("text_encoder", "codec"):
        tensors = new.tensors(part, torch.float32)
        assert all(torch.equal(tensor, tensors[name]) for name, tensor in old.tensors(part, torch.float32).items())
    tensors = new.tensors("language_model", torch.float32)
    before = old.tensors("language_model", torch.float32)
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, tensors[name])}
    clock = ("embed_tokens", "layers.0.self_attn.out_proj", "layers.0.encoder_attn", "layers.0.f")
    key = "layers.1.encoder_attn."
    assert changed
    assert all(any(part in name for part in (*clock, key)) for name in changed), changed
    assert {path.name for path in (tmp_path / "old").iterdir()} == {path.name for path in (tmp_path / "new").iterdir()}
    with pytest.raises(SystemExit):
        module.main(command)
    assert "exists already" in capsys.readouterr().err


def test_what_is_missing_is_said_and_nothing_is_left(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_NUM_TEXTS", 20)
    narrow, untaught = str(a_checkpoint(tmp_path, 8)), str(a_checkpoint(tmp_path, 4, "untaught"))
    for checkpoint, folder, said in (
        (narrow, data, "values at least, not 8 of 32"),
        (untaught, data, "it has to be taught (etude.teach_text)"),
        (untaught, tmp_path / "nowhere", "etude.encode_codes"),
    ):
        with pytest.raises(SystemExit):
            module.main([checkpoint, str(tmp_path / "new"), "--data", str(folder)])
        assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
