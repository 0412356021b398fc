from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from deployments.checkpoints.checkpoint import Checkpoint
from etude import teach_text as module
from etude.score.exact import BEATS
from etude.teach_text import teach
from etude.text.facts import WIDTHS, describe_seeds
from etude.text.lesson import Pupil, Told, farness, last_tokens, rightness
from tests.tiny import tiny_checkpoint


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return tiny_checkpoint(tmp_path / "old", vocab=32, codec_width=8, text_layers=1, text_width=64)


def learn(checkpoint: Path, out: Path, steps: int) -> dict[str, float]:
    return teach(checkpoint, out, texts=2000, steps=steps, batch=32, rate=3e-3, near=0.0, seed=0)


def test_facts_are_told_better_after_than_before(tmp_path: Path, checkpoint: Path) -> None:
    before, after = learn(checkpoint, tmp_path / "before", 1), learn(checkpoint, tmp_path / "after", 450)
    assert after["tonic"] > before["tonic"] + 0.5
    assert after["families"] > before["families"] + 0.3
    assert after["no_drums"] > before["no_drums"] + 0.1


def test_nothing_but_the_text_encoder_changes(tmp_path: Path, checkpoint: Path) -> None:
    learn(checkpoint, tmp_path / "new", 3)
    old, new = Checkpoint.open(checkpoint), Checkpoint.open(tmp_path / "new")
    for part in ("language_model", "codec"):
        tensors = new.tensors(part, torch.float32)
        assert all(torch.equal(tensor, tensors[name]) for name, tensor in old.tensors(part, torch.float32).items())
    tensors = new.tensors("text_encoder", torch.float32)
    assert any((tensor != tensors[name]).any() for name, tensor in old.tensors("text_encoder", torch.float32).items())
    assert {path.name for path in checkpoint.iterdir()} == {path.name for path in (tmp_path / "new").iterdir()}


def test_the_command_prints_what_it_found(tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(checkpoint), str(tmp_path / "new"), "--texts", "50", "--steps", "2", "--batch", "4"]
    module.main(command)
    assert json.loads(capsys.readouterr().out).keys() == {
        "tempo",
        "tonic",
        "scale",
        "families",
        "no_drums",
        "beat",
    }
    with pytest.raises(SystemExit):
        module.main(command)
    assert "exists already" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        module.main([str(checkpoint), str(tmp_path / "other"), "--texts", "0"])
    assert "at least 1, not 0" in capsys.readouterr().err


def test_whoever_tells_everything_is_right_and_loses_little() -> None:
    _, facts = describe_seeds(range(50))
    sure = {name: torch.zeros(50, width) for name, width in WIDTHS.items()}
    for name in ("tonic", "genre", "mood"):
        sure[name][torch.arange(50), getattr(facts, name)] = 20.0
    sure["tempo"] = (facts.tempo + 1e-9).log()
    for name in ("scale", "families", "no_drums"):
        sure[name] = 20.0 * (2 * getattr(facts, name) - 1)
    shown = torch.arange(6) < torch.tensor([[6]] * 25 + [[3]] * 25)
    beats = torch.zeros(50, 6, len(BEATS))
    beats[:25, 5], beats[25:, 2] = facts.beats[:25], facts.beats[25:]
    told = Told(sure, beats, torch.zeros(50, 6, 8), shown)
    assert set(rightness(told, facts).values()) == {1.0}
    entropy = -(facts.tempo * (facts.tempo + 1e-9).log()).sum(1).mean()
    pupil = Pupil(nn.Identity(), 8)
    assert float(pupil.loss(told, facts)) == pytest.approx(float(entropy), abs=0.01)
    # A clock on every token would be as wrong as none on the last.
    everywhere = replace(told, beats=facts.beats[:, None].expand(-1, 6, -1))
    assert float(pupil.loss(everywhere, facts)) > float(entropy) + 0.1


def test_last_tokens_are_those_before_the_padding() -> None:
    assert last_tokens(torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0]])).long().argmax(1).tolist() == [1, 2, 0]


def test_an_encoder_that_is_kept_near_stays_nearer(tmp_path: Path, checkpoint: Path) -> None:
    def far(near: float) -> float:
        out = tmp_path / f"{near}"
        teach(checkpoint, out, texts=500, steps=40, batch=16, rate=3e-3, near=near, seed=0)
        old, new = (Checkpoint.open(each).tensors("text_encoder", torch.float32) for each in (checkpoint, out))
        return sum(float((new[name] - old[name]).square().sum()) for name in old)

    assert far(30.0) < 0.7 * far(0.0)


def test_farness_is_of_tokens_alone() -> None:
    shown = torch.tensor([[True, True, False]])
    old = Told({}, torch.zeros(1, 3, 1), torch.tensor([[[3.0, 4.0], [0.0, 5.0], [9.0, 9.0]]]), shown)
    new = replace(old, states=torch.tensor([[[3.0, 4.0], [5.0, 5.0], [0.0, 0.0]]]))
    assert float(farness(new, old)) == pytest.approx(25 / 50)
