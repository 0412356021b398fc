from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import EncodecModel, MusicgenForConditionalGeneration

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.text_encoder.encoder import TextEncoder
from etude.language_model.batches import Batches
from etude.language_model.new import new_musicgen
from etude.language_model.trainee import Trainee, codebook_means
from etude.new_checkpoint import main
from etude.random_checkpoint import Shape
from tests.etude.language_model.conftest import VOCAB

TINY = Shape(
    layers=2, width=32, heads=2, ffn=64, text_layers=1, text_width=24, text_heads=2, text_head_width=8, text_ffn=48
)


def test_it_foresees_nothing_and_listens_to_little(model: MusicgenForConditionalGeneration, batches: Batches) -> None:
    batch = batches.beginnings(0, 4)
    trainee = Trainee(new_musicgen(model.audio_encoder, TINY, seed=0), trains_text=True).eval()
    with torch.no_grad():
        losses = codebook_means(trainee(batch)[0], batch.labels)
    torch.testing.assert_close(losses, torch.full((4,), math.log(VOCAB)), rtol=0.02, atol=0)


def test_its_codec_is_the_one_it_was_given_and_its_seed_is_all_that_draws(
    model: MusicgenForConditionalGeneration,
) -> None:
    torch.manual_seed(1)
    first = new_musicgen(model.audio_encoder, TINY, seed=0).state_dict()
    torch.manual_seed(2)
    again = new_musicgen(model.audio_encoder, TINY, seed=0).state_dict()
    other = new_musicgen(model.audio_encoder, TINY, seed=1).state_dict()
    codec = model.audio_encoder.state_dict()
    assert all(torch.equal(first[f"audio_encoder.{name}"], codec[name]) for name in codec)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["decoder.lm_heads.0.weight"], other["decoder.lm_heads.0.weight"])


def test_the_command_makes_what_the_service_loads(
    model: MusicgenForConditionalGeneration, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codec, out = tmp_path / "codec", tmp_path / "checkpoint"
    model.audio_encoder.save_pretrained(codec)
    sizes = [f"--{name.replace('_', '-')}={getattr(TINY, name)}" for name in ("layers", "width", "heads", "ffn")]
    main([str(out), "--codec", str(codec), *sizes, "--text-layers=1", "--text-width=24"])
    assert "million parameters" in capsys.readouterr().out
    opened = Checkpoint.open(out)
    assert (opened.decoder_config.vocab_size, opened.decoder_config.hidden_size) == (VOCAB, 32)
    assert TextEncoder.from_checkpoint(opened).encode(["a piano"])[0].shape == (3, 24)
    stored = MusicgenForConditionalGeneration.from_pretrained(out).audio_encoder.state_dict()
    given = EncodecModel.from_pretrained(codec).state_dict()
    assert all(torch.equal(stored[name], given[name]) for name in given)
    with pytest.raises(SystemExit):
        main([str(out), "--codec", str(codec)])
    assert "is not empty" in capsys.readouterr().err
