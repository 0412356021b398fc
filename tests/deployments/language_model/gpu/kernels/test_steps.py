"""Whole steps and whole generations, with the decoder's own program."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from deployments.language_model.config import DecoderConfig
from deployments.language_model.engine.engine import Engine
from deployments.language_model.gpu.decoder import GpuDecoder
from deployments.messages import Sampling
from tests.deployments.language_model.gpu.kernels.cases import DEVICE, Pair
from tests.deployments.language_model.gpu.kernels.steps import EVEN, ROWS, SHORT, SMALL, Step
from tests.deployments.language_model.random_decoder import random_weights, request, run


@pytest.mark.parametrize(
    ("config", "dtype"),
    [(EVEN, "float32"), (EVEN, "bfloat16"), (EVEN, "int8"), (SHORT, "int8")],
    ids=["even-float32", "even-bfloat16", "even-int8", "odd-int8"],
)
def test_a_step_is_that_of_plain_torch(config: DecoderConfig, dtype: str) -> None:
    pair = Pair.of(config, torch.float32 if dtype == "float32" else torch.bfloat16)
    ours, theirs = Step(pair, pair.kernels, dtype), Step(pair, pair.reference, dtype)
    occupied = slice(len(ROWS) - 1)
    apart = (ours.logits - theirs.logits)[occupied].abs().max() / theirs.logits[occupied].std()
    assert apart < (1e-4 if dtype == "float32" else 0.05)
    pair.assert_near(ours.state.cache[:, 1:], theirs.state.cache[:, 1:])
    # Near logits may draw other tokens: what is drawn is compared with what plain torch draws from the same ones.
    guided, drawn = torch.zeros_like(ours.guided), torch.zeros_like(ours.drawn)
    pair.reference.draw(ours.logits, ours.plan, theirs.state, guided, drawn)
    assert torch.equal(ours.guided, guided)
    assert torch.equal(ours.drawn, drawn)


def test_a_row_is_the_same_to_the_bit_whatever_rows_stand_beside_it() -> None:
    pair = Pair.of(SMALL, torch.float32)
    together = Step(pair, pair.kernels, "float32")
    for first, rows in ((2, ROWS[2:3]), (0, ROWS[:2])):
        alone = Step(pair, pair.kernels, "float32", rows, ())
        assert torch.equal(alone.logits, together.logits[first : first + len(rows)])


def test_a_decoder_of_these_kernels_makes_the_codes_of_plain_torch() -> None:
    """One is resumed before the end of a page, without guidance; one has a text of two pages."""
    config = replace(SMALL, width=32, ffn_width=32)
    prompt = np.random.default_rng(0).integers(0, config.vocab_size, (config.num_codebooks, 62)).astype(np.int16)
    requests = [
        request("resumed", num_frames=64, prompt_codes=prompt, sampling=Sampling(guidance_scale=1.0)),
        request("new", num_frames=2, num_tokens=65),
    ]
    pair, made = Pair.of(config, torch.float32), []
    for operations in (pair.kernels, pair.reference):
        weights = random_weights(config, "float32", device=DEVICE)
        decoder = GpuDecoder(config, weights, "float32", 80, max_rows=32, operations=operations)
        made.append(run(Engine(decoder, num_slots=2, max_frames=70), *requests))
    assert made[0].keys() == {"resumed", "new"}
    for name, codes in made[0].items():
        np.testing.assert_array_equal(codes, made[1][name])
