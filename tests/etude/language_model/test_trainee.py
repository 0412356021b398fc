from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import MusicgenForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.language_model.config import DecoderConfig
from deployments.language_model.engine.engine import Engine
from deployments.language_model.loading import make_decoder
from deployments.language_model.weights import load_weights
from deployments.messages import CodeRequest, Sampling
from deployments.text_encoder.encoder import TextEncoder
from etude.language_model.batches import IGNORED, Batch, Batches, inputs_of
from etude.language_model.code_shards import CodeClip
from etude.language_model.origin import Origin
from etude.language_model.trainee import Trainee, codebook_means


def heard(batch: Batch, *, nobody: bool = False) -> Batch:
    """The same with everybody's text shown, or nobody's."""
    return replace(batch, unheard=torch.full_like(batch.unheard, nobody))


@torch.inference_mode()
def test_the_loss_is_that_of_transformers(model: MusicgenForConditionalGeneration, batches: Batches) -> None:
    batch = heard(batches.beginnings(0, 4))
    assert (batch.labels == IGNORED).any(-1).any()
    model.config.decoder.decoder_start_token_id = model.config.decoder.pad_token_id  # theirs shifts the labels itself
    theirs = model(input_ids=batch.text, attention_mask=batch.text_mask, labels=batch.labels.transpose(1, 2))
    ours = codebook_means(Trainee(model, trains_text=True).eval()(batch)[0], batch.labels)
    assert float(ours.mean()) == pytest.approx(float(theirs.loss), rel=1e-5)


@torch.inference_mode()
def test_every_loss_is_that_of_transformers_logits_with_and_without_text(
    model: MusicgenForConditionalGeneration, batches: Batches
) -> None:
    """Without, as its `generate` computes the unconditional row: zero states under a zero mask."""
    batch = batches.beginnings(0, 4)
    inputs = inputs_of(batch.labels, model.config.decoder.pad_token_id)
    states = model.text_encoder(input_ids=batch.text, attention_mask=batch.text_mask).last_hidden_state
    for nobody in (False, True):
        kept = 0 if nobody else 1
        logits = model(
            encoder_outputs=BaseModelOutput(last_hidden_state=states * kept),
            attention_mask=batch.text_mask * kept,
            decoder_input_ids=inputs.flatten(0, 1),
        ).logits
        theirs = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), batch.labels.flatten(0, 1), ignore_index=IGNORED, reduction="none"
        )
        ours = Trainee(model, trains_text=True).eval()(heard(batch, nobody=nobody))[0]
        torch.testing.assert_close(ours.transpose(0, 1).flatten(0, 1), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("unheard", [False, True])
def test_a_code_is_foreseen_as_the_engine_foresees_it(
    unheard: bool, checkpoint: Path, model: MusicgenForConditionalGeneration, batches: Batches, config: DecoderConfig
) -> None:
    """The engine's own logits, column by column, of a clip that it makes; a guidance of 0 is the row without text."""
    opened, logits = Checkpoint.open(checkpoint), {}
    (states,) = TextEncoder.from_checkpoint(opened).encode(["a slow piano waltz"])
    decoder = make_decoder(config, load_weights(opened), "float32", 20, num_threads=1)
    engine = Engine(decoder, num_slots=1, on_logits=lambda _, column, seen: logits.update({column: seen.clone()}))
    engine.add(CodeRequest("clip", states, 20, 0, Sampling(guidance_scale=0.0 if unheard else 1.0)))
    codes = np.concatenate([frames.codes for _ in range(40) for frames in engine.step()], axis=1)

    batches._clips = [CodeClip(codes, ("a slow piano waltz",))]
    batch = heard(batches.beginnings(0, 1), nobody=unheard)
    assert batch.labels.shape[-1] == 15
    with torch.inference_mode():
        ours = Trainee(model, trains_text=True).eval()(batch)[0][:, 0]
    theirs = torch.stack([logits[column] for column in range(15)], dim=-1)
    expected = torch.nn.functional.cross_entropy(theirs, batch.labels[0], ignore_index=IGNORED, reduction="none")
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_gradients_are_finite_where_nobody_is_heard(model: MusicgenForConditionalGeneration, batches: Batches) -> None:
    trainee = Trainee(model, trains_text=True)
    batch = heard(batches.batch(0, 4), nobody=True)
    codebook_means(trainee(batch)[0], batch.labels).mean().backward()
    gradients = {name: each.grad for name, each in trainee.named_parameters() if each.grad is not None}
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values())
    assert not any(bool(gradient.any()) for name, gradient in gradients.items() if name.startswith("text_"))
    assert bool(gradients["decoder.lm_heads.0.weight"].any())


def test_a_frozen_text_encoder_has_neither_gradient_nor_dropout(checkpoint: Path, batches: Batches) -> None:
    trainee = Trainee(Origin(checkpoint, "tiny", torch.float32).load(dropout=0.5), trains_text=False).train()
    batch = heard(batches.batch(0, 2))
    first, second = trainee.text_states(batch), trainee.text_states(batch)
    assert torch.equal(first, second)
    assert first.requires_grad  # of the projection
    codebook_means(trainee(batch)[0], batch.labels).mean().backward()
    assert all(each.grad is None for each in trainee.text_encoder.parameters())
    assert trainee.text_projection.weight.grad.any()


def test_what_is_missed_is_not_read(model: MusicgenForConditionalGeneration, batches: Batches) -> None:
    """Codes in missed columns make no difference, to any later one either; those in others do."""
    trainee = Trainee(model, trains_text=False).eval()
    batch = heard(batches.batch(0, 2))
    missed = torch.zeros_like(batch.missed)
    missed[:, 3:6] = True
    # Columns 2 to 4 are what is read in 3 to 5.
    others = batch.labels.clone()
    seen = others[:, :, 2:5]
    others[:, :, 2:5] = torch.where(seen == IGNORED, seen, (seen + 1) % 32)
    with torch.no_grad():
        gaps = [trainee(replace(batch, labels=labels, missed=missed))[0] for labels in (batch.labels, others)]
        whole = [trainee(replace(batch, labels=labels))[0] for labels in (batch.labels, others)]
    torch.testing.assert_close(gaps[0][:, :, 6:], gaps[1][:, :, 6:])
    assert (whole[0][:, :, 6:] - whole[1][:, :, 6:]).abs().max() > 1e-3


def test_a_roll_is_told_from_what_the_last_layer_is_given(
    model: MusicgenForConditionalGeneration, batches: Batches
) -> None:
    """Only where one is known; and telling it teaches every layer but the last."""
    trainee = Trainee(model, trains_text=False, tells_score=True)
    batch = heard(batches.batch(0, 2))
    losses, unknown = trainee(batch)
    assert float(unknown.detach()) == 0.0
    torch.testing.assert_close(losses, Trainee(model, trains_text=False)(batch)[0])
    roll = torch.full_like(batch.roll, torch.nan)
    roll[0, :, :4] = 0.0
    loss = trainee(replace(batch, roll=roll))[1]
    # Nobody knows anything yet: about ln 2 for each of 60 bits.
    assert 30 < float(loss.detach()) < 80
    loss.backward()
    first, last = trainee.decoder.model.decoder.layers[0], trainee.decoder.model.decoder.layers[-1]
    assert first.fc1.weight.grad is not None
    assert float(first.fc1.weight.grad.abs().sum()) > 0
    assert last.fc1.weight.grad is None or float(last.fc1.weight.grad.abs().sum()) == 0
