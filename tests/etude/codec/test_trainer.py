from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import EncodecModel

from etude.codec import trainer as trainer_module
from etude.codec.crops import Crops
from etude.codec.initialise import new_codec
from etude.codec.recipe import Recipe
from etude.codec.trainer import CODEC, LOG, Pace, Trainer
from tests.etude.codec.conftest import TINY, notes

RECIPE = Recipe(stage="quantiser", steps=6, batch=2, crop_s=0.1, warmup_steps=0)
PACE = Pace(log_steps=1, figures_steps=2, held_out_pieces=2)


def trainer(folder: Path, shards: Path, *, recipe: Recipe = RECIPE, start: Path | None = None) -> Trainer:
    model = new_codec(TINY, notes(2, 12800), seed=0) if start is None else EncodecModel.from_pretrained(start)
    crops = Crops(shards, sample_rate=32000, num_samples=3200)
    held_out = Crops(shards, sample_rate=32000, num_samples=6400)
    return Trainer(folder, recipe, model, crops, held_out, pace=PACE)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = EncodecModel.from_pretrained(folder / CODEC).state_dict()
    return tensors


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], prefix: str = "") -> bool:
    return all(torch.equal(a[name], b[name]) for name in a if name.startswith(prefix))


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / LOG).read_text(encoding="utf-8").splitlines()]


def die_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Crops.batch

    def batch_or_die(self: Crops, at: int, size: int, process: int = 0) -> torch.Tensor:
        if at == step:
            raise KeyboardInterrupt
        return batch(self, at, size, process)

    monkeypatch.setattr(Crops, "batch", batch_or_die)


@pytest.mark.parametrize("stage", ["autoencoder", "quantiser"])
def test_a_killed_run_goes_on_to_the_same_weights_and_log(
    stage: Any, tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPE.model_copy(update={"stage": stage})
    trainer(tmp_path / "whole", shards, recipe=recipe).run()
    every_step = Pace(save_minutes=0, log_steps=1, figures_steps=2, held_out_pieces=2)
    with monkeypatch.context() as killed:
        die_at(3, killed)
        killed.setattr(trainer_module.time, "monotonic", iter(range(0, 10**6, 60)).__next__)
        broken = trainer(tmp_path / "broken", shards, recipe=recipe)
        broken._pace = every_step
        with pytest.raises(KeyboardInterrupt):
            broken.run()
    with (tmp_path / "broken" / LOG).open("a") as file:
        file.write('{"step": 4, "loss": 1}\n{"step": 5, "lo')
    resumed = trainer(tmp_path / "broken", shards, recipe=recipe)
    resumed.run()
    assert resumed.step == 6
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "broken"))
    assert log(tmp_path / "whole") == log(tmp_path / "broken")


def test_a_kill_while_saving_leaves_the_state_before(
    tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer(tmp_path / "whole", shards).run()

    def die(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    broken = trainer(tmp_path / "broken", shards)
    broken._begin()
    with monkeypatch.context() as killed:
        killed.setattr(Path, "rename", die)
        broken._advance()
        with pytest.raises(KeyboardInterrupt):
            broken._save()
    trainer(tmp_path / "broken", shards).run()
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "broken"))
    assert sorted(path.name for path in (tmp_path / "broken").iterdir()) == [
        "codec",
        "log.jsonl",
        "recipe.json",
        "state",
    ]
    assert [path.name for path in (tmp_path / "broken" / "state").iterdir()] == ["6"]


def test_a_folder_of_another_recipe_is_refused(tmp_path: Path, shards: Path) -> None:
    trainer(tmp_path / "out", shards)
    with pytest.raises(ValueError, match=r"was begun with .* choose another folder"):
        trainer(tmp_path / "out", shards, recipe=RECIPE.model_copy(update={"batch": 3}))


def test_the_decoder_stage_changes_the_decoder_alone(tmp_path: Path, shards: Path) -> None:
    trainer(tmp_path / "first", shards).run()
    before = weights(tmp_path / "first")
    recipe = RECIPE.model_copy(update={"stage": "decoder", "steps": 2})
    trainer(tmp_path / "second", shards, recipe=recipe, start=tmp_path / "first" / CODEC).run()
    after = weights(tmp_path / "second")
    assert same(before, after, "encoder")
    assert same(before, after, "quantizer")
    assert not same(before, after, "decoder")


def test_k_means_comes_before_the_first_step_of_quantisation(tmp_path: Path, shards: Path) -> None:
    trainer(tmp_path, shards).run()
    held_out = [line["held_out"] for line in log(tmp_path) if "held_out" in line]
    assert [line["step"] for line in log(tmp_path) if "held_out" in line] == [0, 2, 4, 6]
    assert min(held_out[0]["codebook_use"]) > 0.25
    assert len(held_out[0]["perplexity"]) == 4


def test_the_loss_on_one_batch_falls_from_where_it_starts(tmp_path: Path, shards: Path) -> None:
    """Random weights, or weights that Adam moves too fast, rise first, or stay."""
    codec = new_codec(TINY, notes(8, 32000), seed=0)
    crops = Crops(shards, sample_rate=32000, num_samples=6400)
    one_batch = crops.batch(0, 2)
    crops.batch = lambda step, size, process=0: one_batch  # type: ignore[method-assign]
    recipe = RECIPE.model_copy(update={"stage": "autoencoder", "steps": 40, "warmup_steps": 5})
    Trainer(tmp_path / "out", recipe, codec, crops, crops, pace=Pace(log_steps=1, figures_steps=100)).run()
    losses = [line["loss"] for line in log(tmp_path / "out") if "loss" in line]
    assert max(losses) == losses[0]
    means = [sum(losses[i : i + 10]) / 10 for i in range(0, 40, 10)]
    assert means == sorted(means, reverse=True)
    assert means[-1] < 0.95 * losses[0]


def test_a_gradient_that_is_not_finite_ends_training_with_advice(tmp_path: Path, shards: Path) -> None:
    broken = trainer(tmp_path, shards)
    with torch.no_grad():
        broken._model.decoder.layers[0].conv.bias.fill_(torch.nan)
    broken._recipe = RECIPE.model_copy(update={"stage": "autoencoder"})
    with pytest.raises(FloatingPointError, match="smaller learning rate"):
        broken._advance()
