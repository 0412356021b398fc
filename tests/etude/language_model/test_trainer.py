from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from transformers import AutoProcessor, MusicgenForConditionalGeneration, PreTrainedTokenizerBase

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.codec_decoder.codec import Codec
from deployments.language_model.config import DecoderConfig
from deployments.language_model.engine.engine import Engine
from deployments.language_model.loading import make_decoder
from deployments.language_model.weights import load_weights
from deployments.messages import CodeRequest, Sampling
from deployments.text_encoder.encoder import TextEncoder
from etude.language_model.batches import Batch, Batches
from etude.language_model.code_shards import CodeClip
from etude.language_model.origin import Origin
from etude.language_model.recipe import Recipe
from etude.language_model.trainer import CHECKPOINT, Trainer, accelerator_of
from etude.training import pace as pace_module
from etude.training.pace import Pace
from etude.training.run_folder import LOG
from tests.etude.language_model.conftest import random_clips

RECIPE = Recipe(steps=6, batch=2, warmup_steps=1, dropout=0.2, average=0.5)
PACE = Pace(log_steps=1, figures_steps=2)


def trainer(
    folder: Path, checkpoint: Path, batches: Batches, *, recipe: Recipe = RECIPE, pace: Pace = PACE, dtype: Any = None
) -> Trainer:
    origin = Origin(checkpoint, "tiny", dtype or torch.float32)
    model = origin.load(dropout=recipe.dropout)
    accelerator = accelerator_of(recipe)
    return Trainer(folder, recipe, model, batches, batches, origin=origin, accelerator=accelerator, pace=pace)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = load_file(folder / CHECKPOINT / "model.safetensors")
    return tensors


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / LOG).read_text(encoding="utf-8").splitlines()]


def die_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batches.batch

    def batch_or_die(self: Batches, at: int, size: int, process: int = 0) -> Batch:
        if at == step:
            raise KeyboardInterrupt
        return batch(self, at, size, process)

    monkeypatch.setattr(Batches, "batch", batch_or_die)


def test_a_killed_run_goes_on_to_the_same_weights_and_log(
    tmp_path: Path, checkpoint: Path, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer(tmp_path / "whole", checkpoint, batches).run()
    with monkeypatch.context() as killed:
        die_at(3, killed)
        killed.setattr(pace_module.time, "monotonic", iter(range(0, 10**6, 60)).__next__)
        broken = trainer(
            tmp_path / "broken", checkpoint, batches, pace=Pace(save_minutes=0, log_steps=1, figures_steps=2)
        )
        with pytest.raises(KeyboardInterrupt):
            broken.run()
    with (tmp_path / "broken" / LOG).open("a") as file:
        file.write('{"step": 4, "loss": 1}\n{"step": 5, "lo')
    torch.manual_seed(123)
    assert trainer(tmp_path / "broken", checkpoint, batches).run() == 6
    whole, broken_weights = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert all(torch.equal(whole[name], broken_weights[name]) for name in whole)
    assert log(tmp_path / "whole") == log(tmp_path / "broken")


def test_what_is_written_is_served(tmp_path: Path, checkpoint: Path, batches: Batches) -> None:
    recipe = RECIPE.model_copy(update={"steps": 2})
    trainer(tmp_path, checkpoint, batches, recipe=recipe, dtype=torch.bfloat16).run()
    opened = Checkpoint.open(tmp_path / CHECKPOINT)
    codes = engine_codes(opened, "a slow piano waltz", num_frames=8)
    sound = MusicgenForConditionalGeneration.from_pretrained(tmp_path / CHECKPOINT).float().eval()
    assert Codec.from_checkpoint(opened).channels == 1
    assert codes.shape == (4, 8)
    inputs = AutoProcessor.from_pretrained(tmp_path / CHECKPOINT)(text=["drums"], return_tensors="pt")
    assert sound.generate(**inputs, max_new_tokens=8).shape == (1, 1, 5 * 10)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / CHECKPOINT).iterdir()} == {0o644}
    assert "trained on" in (tmp_path / CHECKPOINT / "README.md").read_text()


def test_all_that_is_learned_is_written_and_nothing_else(tmp_path: Path, checkpoint: Path, batches: Batches) -> None:
    recipe = RECIPE.model_copy(update={"steps": 2, "average": 0.0})
    work = trainer(tmp_path, checkpoint, batches, recipe=recipe)
    work.run()
    before = load_file(checkpoint / "model.safetensors")
    after = weights(tmp_path)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if not name.startswith("audio_encoder.")}
    assert torch.equal(after["enc_to_dec_proj.weight"], work._trainee.text_projection.weight)
    assert torch.equal(after["text_encoder.shared.weight"], work._trainee.text_encoder.embed_tokens.weight)


def test_a_frozen_text_encoder_stays_as_it_is(tmp_path: Path, checkpoint: Path, batches: Batches) -> None:
    recipe = RECIPE.model_copy(update={"steps": 2, "text_encoder": "frozen"})
    trainer(tmp_path, checkpoint, batches, recipe=recipe).run()
    before, after = load_file(checkpoint / "model.safetensors"), weights(tmp_path)
    same = {name.partition(".")[0] for name in before if torch.equal(before[name], after[name])}
    assert same == {"audio_encoder", "text_encoder"}


def test_the_average_is_what_its_formula_says(tmp_path: Path, checkpoint: Path, batches: Batches) -> None:
    """Of two steps: the first step's weights, and then half of them and half of the second's."""
    name = "decoder.lm_heads.0.weight"
    found = {}
    for steps, average in ((1, 0.0), (2, 0.0), (2, 0.5)):
        recipe = Recipe(steps=2, batch=2, warmup_steps=0, average=average)
        work = trainer(tmp_path / f"{steps} {average}", checkpoint, batches, recipe=recipe)
        work.begin()
        for step in range(steps):
            work.advance(step)
        work.export()
        found[steps, average] = weights(tmp_path / f"{steps} {average}")[name]
    torch.testing.assert_close(found[2, 0.5], (found[1, 0.0] + found[2, 0.0]) / 2)


def test_steps_take_turns_with_windows_of_several_lengths(
    tmp_path: Path, checkpoint: Path, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many frames in all: 2 windows of 12 frames, 8 of 3, one of 24; one at least."""
    seen: list[tuple[int, int]] = []
    batch = Batches.batch

    def noted(self: Batches, step: int, size: int, process: int = 0) -> Batch:
        seen.append((self.num_frames, size))
        return batch(self, step, size, process)

    monkeypatch.setattr(Batches, "batch", noted)
    recipe = Recipe(steps=4, batch=2, warmup_steps=1, context_s=(12.0, 3.0, 24.0, 48.0))
    trainer(tmp_path, checkpoint, batches, recipe=recipe).run()
    assert seen == [(12, 2), (3, 8), (24, 1), (48, 1)]


def test_a_few_clips_are_learned_by_heart_and_played_back(
    tmp_path: Path, checkpoint: Path, tokenizer: PreTrainedTokenizerBase, config: DecoderConfig
) -> None:
    """By the engine, which goes on after the last frame, and by transformers, which feeds pads there."""
    clips = [CodeClip(clip.codes, clip.texts[:1]) for clip in random_clips((13, 13, 13))]
    batches = Batches(clips, tokenizer, config, num_frames=10, text_dropout=0.1)
    recipe = Recipe(steps=150, batch=6, warmup_steps=5, learning_rate=1e-2, weight_decay=0.0)
    trainer(tmp_path, checkpoint, batches, recipe=recipe, pace=Pace(log_steps=1, figures_steps=150)).run()
    opened = Checkpoint.open(tmp_path / CHECKPOINT)
    theirs = transformers_codes(tmp_path / CHECKPOINT, [clip.texts[0] for clip in clips], num_frames=10)
    for clip, played in zip(clips, theirs, strict=True):
        np.testing.assert_array_equal(engine_codes(opened, clip.texts[0], num_frames=10), clip.codes[:, :10])
        np.testing.assert_array_equal(played, clip.codes[:, :10])
    last = log(tmp_path)[-1]["held_out"]
    assert last["with_text_mean"] < 0.1
    assert last["with_text_mean"] < min(last["without_text_mean"], last["with_others_text_mean"])


def test_a_gradient_that_is_not_finite_ends_training_with_advice(
    tmp_path: Path, checkpoint: Path, batches: Batches
) -> None:
    broken = trainer(tmp_path, checkpoint, batches)
    with torch.no_grad():
        broken._trainee.decoder.lm_heads[0].weight.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="smaller learning rate"):
        broken.advance(0)


def engine_codes(checkpoint: Checkpoint, text: str, *, num_frames: int) -> np.ndarray:
    """The likeliest codes, by the engine."""
    (states,) = TextEncoder.from_checkpoint(checkpoint).encode([text])
    config = DecoderConfig.from_transformers(checkpoint.config)
    decoder = make_decoder(config, load_weights(checkpoint), "float32", num_frames, num_threads=1)
    engine = Engine(decoder, num_slots=1, max_frames=num_frames)
    engine.add(CodeRequest("clip", states, num_frames, 0, Sampling(guidance_scale=1, temperature=0)))
    parts = []
    while not engine.idle:
        parts += [frames.codes for frames in engine.step()]
    return np.concatenate(parts, axis=1)


def transformers_codes(folder: Path, texts: list[str], *, num_frames: int) -> list[np.ndarray]:
    """What its `generate` hands its codec."""
    model = MusicgenForConditionalGeneration.from_pretrained(folder).eval()
    inputs = AutoProcessor.from_pretrained(folder)(text=texts, padding=True, return_tensors="pt")
    handed: list[torch.Tensor] = []
    decode = model.audio_encoder.decode
    model.audio_encoder.decode = lambda codes, **options: handed.append(codes) or decode(codes, **options)
    model.generate(**inputs, do_sample=False, guidance_scale=1.0, max_new_tokens=num_frames + 3)
    return [codes.numpy() for codes in handed[0][0]]


def test_16_bits_train_to_about_what_32_do(tmp_path: Path, checkpoint: Path, batches: Batches) -> None:
    """accelerate keeps the first precision of a process: its state is put away before and after."""
    losses = {}
    for precision in ("float32", "bfloat16"):
        AcceleratorState._reset_state(reset_partial_state=True)
        recipe = Recipe(steps=5, batch=4, warmup_steps=0, precision=precision)
        trainer(tmp_path / precision, checkpoint, batches, recipe=recipe).run()
        losses[precision] = [line["loss"] for line in log(tmp_path / precision) if "loss" in line]
        assert weights(tmp_path / precision)["decoder.lm_heads.0.weight"].dtype == torch.float32
    AcceleratorState._reset_state(reset_partial_state=True)
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)
    assert losses["bfloat16"] != losses["float32"]
