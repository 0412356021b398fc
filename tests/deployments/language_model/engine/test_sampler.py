"""The sampler keeps what transformers keeps, and draws what the probabilities say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from deployments.language_model.engine.sampler import SamplingBatch, guide, gumbel, keep_mask, sample
from deployments.messages import Sampling

VOCAB = 256


def batch(*samplings: Sampling, seeds: list[int] | None = None, vocab: int = VOCAB) -> SamplingBatch:
    return SamplingBatch.of(samplings, seeds or [0] * len(samplings), vocab)


def kept_by_transformers(logits: Tensor, sampling: Sampling) -> Tensor:
    """[K, V] → bool [K, V], through its warpers in its order."""
    scores = logits
    if sampling.temperature != 1:
        scores = TemperatureLogitsWarper(sampling.temperature)(None, scores)
    if sampling.top_k:
        scores = TopKLogitsWarper(sampling.top_k)(None, scores)
    if 0 < sampling.top_p < 1:
        scores = TopPLogitsWarper(sampling.top_p)(None, scores)
    return scores > -torch.inf


samplings = st.builds(
    Sampling,
    temperature=st.floats(0.1, 3.0),
    top_k=st.sampled_from([0, 1, 2, 17, 250, VOCAB, VOCAB + 9]),
    top_p=st.sampled_from([0.0, 0.01, 0.3, 0.9, 0.999, 1.0]),
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(samplings, min_size=1, max_size=5), st.integers(0, 2**32), st.sampled_from([0.01, 1.0, 8.0]), st.booleans()
)
def test_the_kept_set_equals_that_of_transformers(these: list[Sampling], seed: int, spread: float, ties: bool) -> None:
    logits = torch.randn(len(these), 4, VOCAB, generator=torch.Generator().manual_seed(seed)) * spread
    if ties:
        logits = logits.round()
    settings_of = batch(*these)
    ours = keep_mask(logits / torch.from_numpy(settings_of.temperature)[:, None, None], settings_of)
    for row, sampling in enumerate(these):
        assert torch.equal(ours[row], kept_by_transformers(logits[row], sampling))


def test_a_draw_is_never_outside_the_kept_set() -> None:
    logits = torch.randn(200, 4, VOCAB, generator=torch.Generator().manual_seed(0)) * 3
    settings_of = batch(*[Sampling(top_k=5, top_p=0.8)] * 200, seeds=list(range(200)))
    tokens = sample(logits, settings_of, np.zeros((200, 4), np.int64))
    assert keep_mask(logits, settings_of).gather(-1, tokens[..., None]).all()


@pytest.mark.parametrize(
    "sampling",
    [Sampling(top_k=0), Sampling(top_k=12), Sampling(top_k=0, top_p=0.7), Sampling(temperature=1.7, top_k=30)],
)
def test_draws_pass_a_chi_square_test_over_frames(sampling: Sampling) -> None:
    frames, codebooks = 40_000, 4
    logits = torch.randn(VOCAB, generator=torch.Generator().manual_seed(1))
    settings_of = batch(sampling, seeds=[12345])
    expected = (logits / sampling.temperature).masked_fill(
        ~keep_mask(logits[None, None] / sampling.temperature, settings_of)[0, 0], -torch.inf
    )
    counts = torch.zeros(VOCAB)
    for first in range(0, frames, 1000):
        many = batch(*[sampling] * 1000, seeds=[12345] * 1000)
        where = np.arange(first, first + 1000)[:, None].repeat(codebooks, axis=1)
        tokens = sample(logits.expand(1000, codebooks, VOCAB), many, where)
        counts += tokens.flatten().bincount(minlength=VOCAB)
    probability = expected.double().softmax(-1)
    possible = probability > 0
    result = stats.chisquare(counts[possible].numpy(), (probability[possible] * counts.sum()).numpy())
    assert counts[~possible].sum() == 0
    assert 1e-4 < result.pvalue < 1 - 1e-4


def test_seeds_frames_and_codebooks_draw_independently() -> None:
    """Of neighbouring counters: as many coincidences as chance has, and no more."""
    logits = torch.zeros(2000, 4, VOCAB)
    frames = np.arange(2000)[:, None].repeat(4, axis=1)
    one = sample(logits, batch(*[Sampling(top_k=0)] * 2000, seeds=[7] * 2000), frames)
    other = sample(logits, batch(*[Sampling(top_k=0)] * 2000, seeds=[8] * 2000), frames)
    for a, b in ((one, other), (one[1:], one[:-1]), (one[:, 1:], one[:, :-1])):
        coincidences = int((a == b).sum())
        assert stats.binomtest(coincidences, a.numel(), 1 / VOCAB).pvalue > 1e-4


def test_temperature_zero_takes_the_likeliest_token() -> None:
    logits = torch.randn(3, 4, VOCAB)
    tokens = sample(logits, batch(*[Sampling(temperature=0)] * 3), np.zeros((3, 4), np.int64))
    assert torch.equal(tokens, logits.argmax(-1))


def test_guidance_is_transformers_formula_and_scale_one_is_the_text_itself() -> None:
    text, without = torch.randn(3, 4, VOCAB), torch.randn(3, 4, VOCAB)
    guided = guide(
        text, without, batch(Sampling(guidance_scale=3.0), Sampling(guidance_scale=1.0), Sampling(guidance_scale=0))
    )
    assert torch.equal(guided[0], without[0] + (text[0] - without[0]) * 3.0)
    assert torch.equal(guided[1], text[1])
    assert torch.equal(guided[2], without[2])


def test_noise_does_not_depend_on_how_much_is_drawn_beside_it() -> None:
    n = 70_001
    generator = torch.Generator().manual_seed(0)
    seeds, frames, tokens = (torch.randint(0, 2**62, (n,), generator=generator) for _ in range(3))
    codebooks = torch.arange(n) % 4
    whole = gumbel(seeds, frames, codebooks, tokens)
    for first, size in ((0, 1), (13, 7), (50_000, 333), (n - 1, 1)):
        part = slice(first, first + size)
        assert torch.equal(gumbel(seeds[part], frames[part], codebooks[part], tokens[part]), whole[part])


def test_noise_is_standard_gumbel_and_always_finite() -> None:
    n = 200_000
    noise = gumbel(torch.full((n,), -1), torch.arange(n), torch.zeros(n, dtype=torch.int64), torch.full((n,), 3))
    assert bool(noise.isfinite().all())
    assert noise.abs().max() < 37
    assert stats.kstest(noise.numpy(), stats.gumbel_r.cdf).pvalue > 1e-4


def test_noise_of_known_counters_never_changes() -> None:
    """Kept seeds must reproduce after an upgrade: these figures are the contract."""
    seeds = torch.tensor([0, 1, -1, 42])
    frames, codebooks, tokens = (
        torch.tensor([0, 1, 2, 1499]),
        torch.tensor([0, 1, 2, 3]),
        torch.tensor([0, 5, 2047, 100]),
    )
    np.testing.assert_allclose(gumbel(seeds, frames, codebooks, tokens).numpy(), KNOWN_NOISE, rtol=1e-12)


KNOWN_NOISE = [-0.08116903215863935, -0.24459587554602163, -0.375487249018188, 1.454330554969067]
