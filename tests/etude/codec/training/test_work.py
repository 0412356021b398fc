from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from transformers import EncodecModel

from etude.codec.crops import Crops
from etude.codec.initialise import new_codec
from etude.codec.training import __main__ as command
from etude.codec.training.recipe import Recipe
from etude.codec.training.work import CODEC, LAST, CodecWork
from etude.training.loop import run
from etude.training.pace import Pace
from etude.training.run_folder import RunFolder
from tests.etude.codec.conftest import TINY, notes

RECIPE = Recipe(steps=6, batch=2, crop_s=0.1, warmup_steps=0, rests=0.5, dropped=0.5, average=0.9)
JUDGED = RECIPE.model_copy(update={"judged": 1, "judged_from": 2})


def work(folder: Path, shards: Path, recipe: Recipe) -> tuple[CodecWork, RunFolder, Accelerator]:
    crops = Crops(shards, sample_rate=32000, num_samples=3200)
    held_out = Crops(shards, sample_rate=32000, num_samples=6400)
    run_folder, accelerator = RunFolder(folder, recipe), Accelerator(cpu=True)
    model = new_codec(TINY, notes(2, 12800), seed=0)
    made = CodecWork(run_folder, recipe, model, crops, held_out, accelerator, held_out_pieces=2)
    return made, run_folder, accelerator


def train(folder: Path, shards: Path, recipe: Recipe, *, save_minutes: float = 5.0) -> list[dict[str, Any]]:
    made, run_folder, accelerator = work(folder, shards, recipe)
    pace = Pace(save_minutes=save_minutes, log_steps=1, figures_steps=3)
    run(made, run_folder, accelerator, steps=recipe.steps, pace=pace, name="codec")
    return [json.loads(line) for line in run_folder.log_path.read_text(encoding="utf-8").splitlines()]


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = EncodecModel.from_pretrained(folder / name).state_dict()
    return tensors


@pytest.mark.parametrize("recipe", [RECIPE, JUDGED])
def test_a_killed_run_goes_on_to_the_same_weights_and_log(
    recipe: Recipe, tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(tmp_path / "whole", shards, recipe)
    batch = Crops.batch

    def die_at_four(self: Crops, step: int, size: int, process: int = 0) -> torch.Tensor:
        if step == 4:
            raise KeyboardInterrupt
        return batch(self, step, size, process)

    with monkeypatch.context() as killed:
        killed.setattr(Crops, "batch", die_at_four)
        with pytest.raises(KeyboardInterrupt):
            # A state after every step.
            train(tmp_path / "broken", shards, recipe, save_minutes=-1)
    assert train(tmp_path / "broken", shards, recipe) == whole
    for name in (CODEC, LAST):
        one, other = weights(tmp_path / "whole", name), weights(tmp_path / "broken", name)
        assert all(torch.equal(one[tensor], other[tensor]) for tensor in one)


def test_both_halves_and_the_codebooks_learn_and_the_average_lags(tmp_path: Path, shards: Path) -> None:
    train(tmp_path, shards, RECIPE)
    before = new_codec(TINY, notes(2, 12800), seed=0).state_dict()
    last, average = weights(tmp_path, LAST), weights(tmp_path, CODEC)
    for part in ("encoder", "decoder", "quantizer"):
        names = [name for name in before if name.startswith(part) and before[name].is_floating_point()]
        assert any(not torch.equal(before[name], last[name]) for name in names)
        assert any(not torch.equal(average[name], last[name]) for name in names)


def test_the_loss_on_one_batch_falls(tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_batch = Crops(shards, sample_rate=32000, num_samples=6400).batch(0, 2)
    monkeypatch.setattr(Crops, "batch", lambda self, step, size, process=0: one_batch)
    quiet = {"steps": 30, "rests": 0.0, "dropped": 0.0, "crop_s": 0.2, "learning_rate": 1e-3}
    recipe = RECIPE.model_copy(update=quiet)
    losses = [line["loss"] for line in train(tmp_path, shards, recipe) if "loss" in line]
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])


def test_a_discriminator_s_verdict_counts_from_the_step_that_was_asked(tmp_path: Path, shards: Path) -> None:
    lines = [line for line in train(tmp_path, shards, JUDGED) if "loss" in line]
    assert all("discriminator" in line for line in lines)
    assert [line["step"] for line in lines if "features" in line] == [3, 4, 5, 6]


def test_weights_that_are_not_numbers_end_training_with_advice(tmp_path: Path, shards: Path) -> None:
    made, _, _ = work(tmp_path, shards, RECIPE)
    made.begin()
    with torch.no_grad():
        made._codec.decoder.layers[0].conv.bias.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="smaller learning rate"):
        made.advance(0)


def test_the_command_goes_on_from_a_codec(tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_HELD_OUT_S", 0.2)
    quick = ["--data", str(shards), "--held-out", str(shards), "--steps", "1", "--batch", "1", "--crop-s", "0.1"]
    quick += ["--threads", str(torch.get_num_threads())]
    new_codec(TINY, notes(2, 12800), seed=0).save_pretrained(tmp_path / "first")
    command.main([*quick, "--out", str(tmp_path / "second"), "--from", str(tmp_path / "first")])
    assert EncodecModel.from_pretrained(tmp_path / "second" / CODEC).config.num_filters == 4


def test_a_new_codec_is_its_seed_s() -> None:
    one, same, other = (command.new_random_codec(TINY, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_a_rate_rises_and_is_then_halved_again_and_again() -> None:
    recipe = Recipe(warmup_steps=9, half_life=1000)
    assert recipe.rate(0) == pytest.approx(0.1)
    assert recipe.rate(1000) == pytest.approx(0.5)
    assert recipe.rate(3000) == pytest.approx(0.125)
