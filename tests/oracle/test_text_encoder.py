"""Text states against transformers', each prompt by itself and without padding. The comparison is itself tested."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoProcessor, T5EncoderModel
from transformers.models.t5.modeling_t5 import T5Attention, T5LayerNorm

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.text_encoder.encoder import TextEncoder
from tests.oracle.reference import Pair, relative_error

TOLERANCE = 1e-4

PROMPTS = (
    "slow piano",
    "a 30-second grand piano jazz improvisation",
    "warm lofi beat with vinyl crackle, upright bass, brushed drums, a muted trumpet far away and rain on the window",
    "",
    "\u97f3\u697d \U0001f3b5",
)
SENTENCE = "a grand piano jazz improvisation"

Plant = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture
def encoder(models: Pair) -> TextEncoder:
    return TextEncoder.from_checkpoint(Checkpoint.open(models.folder))


@torch.inference_mode()
def their_states(models: Pair, prompts: Sequence[str]) -> list[Tensor]:
    processor = AutoProcessor.from_pretrained(models.folder)
    inputs = [processor(text=[prompt], return_tensors="pt") for prompt in prompts]
    return [models.theirs.text_encoder(**each).last_hidden_state[0] for each in inputs]


def worst_error(ours: Sequence[np.ndarray], theirs: Sequence[Tensor]) -> float:
    """Over all prompts; infinite where the number of tokens differs."""
    return max(
        relative_error(torch.from_numpy(our), their) if our.shape == tuple(their.shape) else math.inf
        for our, their in zip(ours, theirs, strict=True)
    )


def test_the_states_of_a_batch_equal_transformers_one_by_one(models: Pair, encoder: TextEncoder) -> None:
    assert worst_error(encoder.encode(PROMPTS), their_states(models, PROMPTS)) < TOLERANCE


def test_2000_characters_of_a_token_each_are_not_cut(models: Pair, encoder: TextEncoder) -> None:
    prompts = ["x" * 2000]
    theirs = their_states(models, prompts)
    assert len(theirs[0]) > 2000
    assert worst_error(encoder.encode(prompts), theirs) < TOLERANCE


def test_one_changed_word_moves_the_other_words_states_a_hundred_tolerances(models: Pair, encoder: TextEncoder) -> None:
    [changed] = encoder.encode([SENTENCE.replace("jazz", "blues")])
    [theirs] = their_states(models, [SENTENCE])
    assert changed.shape == tuple(theirs.shape)
    assert worst_error([changed[:4]], [theirs[:4]]) > 100 * TOLERANCE


def _padding_is_not_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = T5EncoderModel.forward
    monkeypatch.setattr(
        T5EncoderModel,
        "forward",
        lambda self, input_ids, attention_mask: forward(self, input_ids, torch.ones_like(attention_mask)),
    )


def _words_have_no_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    compute_bias = T5Attention.compute_bias
    monkeypatch.setattr(T5Attention, "compute_bias", lambda *args, **options: 0 * compute_bias(*args, **options))


def _norms_do_not_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = T5LayerNorm.forward
    monkeypatch.setattr(T5LayerNorm, "forward", lambda self, x: forward(self, x) / self.weight)


def _the_end_token_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    run = TextEncoder._run
    monkeypatch.setattr(TextEncoder, "_run", lambda self, tokens, n: run(self, [ids[:-1] or ids for ids in tokens], n))


def _a_batch_comes_back_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    run = TextEncoder._run
    monkeypatch.setattr(TextEncoder, "_run", lambda *args: run(*args)[::-1])


@pytest.mark.parametrize(
    "plant",
    [
        _padding_is_not_masked,
        _words_have_no_positions,
        _norms_do_not_scale,
        _the_end_token_is_cut_off,
        _a_batch_comes_back_in_another_order,
    ],
)
def test_a_planted_bug_moves_the_states_a_hundred_tolerances(
    models: Pair, encoder: TextEncoder, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = their_states(models, PROMPTS)
    plant(monkeypatch)
    assert worst_error(encoder.encode(PROMPTS), theirs) > 100 * TOLERANCE
