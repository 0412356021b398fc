from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import EncodecModel

from etude.codec import evaluate, train
from etude.codec.recipe import Recipe

QUICK = ["--steps", "2", "--batch", "1", "--crop-s", "0.1", "--filters", "4", "--figures-steps", "1", "--threads", "1"]
QUICK += ["--nice", "0"]


def arguments(shards: Path, out: Path) -> list[str]:
    return ["--data", str(shards), "--held-out", str(shards), "--out", str(out), *QUICK]


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as those of the tests."""
    monkeypatch.setattr(train, "_FIRST_CROPS", 8)
    monkeypatch.setattr(train, "_HELD_OUT_S", 0.2)
    monkeypatch.setattr(evaluate, "_SHOWN_S", 0.2)
    monkeypatch.setattr(evaluate, "_SHOWN", 1)


def test_the_commands_lead_from_shards_to_figures(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = tmp_path / "autoencoder"
    train.main([*arguments(shards, first), "--stage", "autoencoder"])
    # Two steps more of a stage that has had both take none.
    train.main([*arguments(shards, first), "--stage", "autoencoder"])
    codec = EncodecModel.from_pretrained(first / "codec")
    assert codec.config.sampling_rate == 32000
    assert codec.config.norm_type == "weight_norm"
    assert (first / "log.png").stat().st_size > 1000

    plot = tmp_path / "mels.png"
    capsys.readouterr()
    evaluate.main(
        [str(first / "codec"), "--data", str(shards), "--pieces", "2", "--piece-s", "0.2", "--plot", str(plot)]
    )
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(figures) == {"codec", "random_codec", "codec_mel_ratio", "faults", "faults_of_pieces"}
    assert "line_in_silence_dbfs" in figures["faults"]
    assert len(figures["codec"]["codebook_use"]) == 4
    assert plot.stat().st_size > 1000


def test_a_folder_that_is_no_dataset_is_refused_with_what_would_make_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        train.main([*arguments(tmp_path, tmp_path / "out"), "--stage", "autoencoder"])
    assert "python -m etude.dataset" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_rate_rises_to_its_highest_and_falls_to_a_tenth() -> None:
    recipe = Recipe(stage="autoencoder", steps=1000, warmup_steps=9)
    rates = [recipe.rate(step) for step in range(1001)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1, abs=1e-3)
    assert rates.index(max(rates)) == 9
    assert rates[-1] == pytest.approx(0.1)
    assert rates[9:] == sorted(rates[9:], reverse=True)
