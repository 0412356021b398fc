"""The sampler's kernel, and the functions it is made of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from deployments.language_model.engine import sampler as noise_module
from deployments.language_model.gpu.state import State
from deployments.messages import Sampling
from tests.deployments.language_model.gpu.kernels import wrappers
from tests.deployments.language_model.gpu.kernels.cases import DEVICE, ODD, Pair, plan_of, random
from tests.deployments.language_model.gpu.kernels.comparisons import SAMPLINGS, compare_draws, set_sampling
from tests.deployments.language_model.random_decoder import CONFIG

NUMBERS = [0, 1, -1, 2**63 - 1, -(2**63), 0x9E3779B97F4A7C15 - 2**64, 30, 2**31]


@pytest.fixture(params=[CONFIG, ODD], ids=["even", "odd"])
def sampler(request: pytest.FixtureRequest) -> Pair:
    """Draws are made in float32 whatever is multiplied."""
    return Pair.of(request.param, torch.float32)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_a_draw_is_the_samplers(sampler: Pair, sampling: Sampling) -> None:
    compare_draws(sampler, sampling, seed=SAMPLINGS.index(sampling))


# Which of equals top_p drops is left open.
@pytest.mark.parametrize("sampling", [each for each in SAMPLINGS if not each.top_p], ids=str)
def test_a_draw_among_equals_is_the_samplers(sampler: Pair, sampling: Sampling) -> None:
    compare_draws(sampler, sampling, ties=True)


def test_of_equally_likely_tokens_top_p_drops_those_of_lower_number() -> None:
    config, count = replace(CONFIG, num_codebooks=1), 24
    sampler, state = Pair.of(config, torch.float32), State(config, 1, 64, 1, torch.float32, DEVICE)
    set_sampling(state, sampler, 0, Sampling(guidance_scale=1.0, top_k=0, top_p=0.5), seed=1)
    logits = torch.full((count, config.vocab_size), -1e4, device=DEVICE)
    logits[:, :8] = 0.0
    guided = torch.zeros(count, 1, config.vocab_size, device=DEVICE)
    drawn = torch.zeros(count, 1, dtype=torch.int32, device=DEVICE)
    plan = plan_of([(0, 0, position) for position in range(count)], [(row, row) for row in range(count)])
    sampler.kernels.draw(logits, plan, state, guided, drawn)
    assert set(drawn.flatten().tolist()) == {4, 5, 6, 7}


def test_numbers_are_mixed_to_the_bit() -> None:
    numbers = torch.tensor(NUMBERS, device=DEVICE)
    mixed = torch.zeros_like(numbers)
    wrappers.mix_all[(1,)](numbers, mixed, BLOCK=len(NUMBERS))
    assert torch.equal(mixed, noise_module._mix(numbers))


def test_noise_is_that_of_plain_torch() -> None:
    """But for the last bits of a logarithm. Frames before the first are those of delayed codebooks."""
    seeds = torch.tensor(NUMBERS, device=DEVICE)
    frames = torch.tensor([0, 1, -1, -3, 1500, 2**20, 7, 499], dtype=torch.int32, device=DEVICE)
    codebooks = torch.arange(8, dtype=torch.int32, device=DEVICE)
    noise = torch.zeros(8, 64, dtype=torch.float64, device=DEVICE)
    wrappers.noise_of[(8,)](seeds, frames, codebooks, noise, BLOCK=64)
    row, token = torch.ones_like(noise).nonzero(as_tuple=True)
    expected = noise_module.gumbel(seeds[row], frames.long()[row], codebooks.long()[row], token)
    torch.testing.assert_close(noise.flatten(), expected, rtol=1e-13, atol=1e-13)


def test_the_order_of_scores_is_that_of_the_numbers() -> None:
    edges = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, 1e-45, -1e-45, 3e38, -3e38], device=DEVICE)
    scores = torch.cat([edges, random(56)])
    orders = torch.zeros(64, dtype=torch.int64, device=DEVICE)
    wrappers.order_all[(1,)](scores, orders, BLOCK=64)
    assert orders.min() >= 0
    assert orders.max() < 2**32
    assert torch.equal(scores[orders.argsort()], scores.sort().values)
    assert orders[1] < orders[0]  # -0 below 0
