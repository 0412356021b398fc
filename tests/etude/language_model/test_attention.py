from __future__ import annotations

import torch
from transformers import MusicgenForConditionalGeneration

from etude.language_model.attention import attend_by_whole_products
from etude.language_model.batches import Batch, Batches
from etude.language_model.trainee import Trainee, codebook_means


def losses_and_gradients(
    model: MusicgenForConditionalGeneration, batch: Batch, *, bfloat16: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    trainee = Trainee(model, trains_text=True).train()
    trainee.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
        losses = codebook_means(trainee(batch)[0], batch.labels)
    losses.mean().backward()
    return losses.detach(), torch.cat([each.grad.flatten() for each in trainee.parameters()])


def test_whole_products_are_torchs_attention_in_32_bits(
    model: MusicgenForConditionalGeneration, batches: Batches
) -> None:
    batch = batches.batch(0, 6)
    assert batch.unheard.any()
    expected = losses_and_gradients(model, batch)
    attend_by_whole_products(model.decoder)
    for ours, theirs in zip(losses_and_gradients(model, batch), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_in_16_bits_they_are_no_further_from_32_than_torchs(
    model: MusicgenForConditionalGeneration, batches: Batches
) -> None:
    batch = batches.batch(0, 6)
    exact, _ = losses_and_gradients(model, batch)
    theirs, _ = losses_and_gradients(model, batch, bfloat16=True)
    attend_by_whole_products(model.decoder)
    ours, gradients = losses_and_gradients(model, batch, bfloat16=True)
    assert (ours - exact).abs().max() < 2 * (theirs - exact).abs().max() + 0.01
    assert gradients.isfinite().all()


def test_a_batch_whose_texts_are_of_one_length_has_no_mask_and_is_attended_to_alike(
    model: MusicgenForConditionalGeneration, batches: Batches
) -> None:
    batch = batches.beginnings(0, 1)
    assert batch.text_mask.all()
    expected, _ = losses_and_gradients(model, batch)
    attend_by_whole_products(model.decoder)
    ours, _ = losses_and_gradients(model, batch)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
