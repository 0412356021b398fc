"""The compiled sampler draws the very tokens of the plain one."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.language_model.cpu import sampling
from deployments.language_model.cpu.decoder import Int8Decoder
from deployments.language_model.engine.sampler import SamplingBatch, guide, gumbel, sample
from deployments.messages import Sampling
from tests.deployments.language_model.random_decoder import CONFIG, random_decoder

DECODER = random_decoder("int8", max_frames=8)

samplings = st.builds(
    Sampling,
    guidance_scale=st.sampled_from([0.0, 1.0, 3.0]),
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 7, 100, 5000]),
    top_p=st.sampled_from([0.0, 0.4, 0.95]),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(samplings, st.integers(0, 2**64 - 1)), min_size=1, max_size=6),
    st.integers(0, 2**32),
    st.booleans(),
)
def test_the_same_tokens_as_the_plain_sampler(these: list[tuple[Sampling, int]], seed: int, ties: bool) -> None:
    assert isinstance(DECODER, Int8Decoder)
    generator = torch.Generator().manual_seed(seed)
    text, plain = torch.randn(2, len(these), CONFIG.num_codebooks, CONFIG.vocab_size, generator=generator) * 2
    if ties:
        text, plain = text.round(), plain.round()
    batch = SamplingBatch.of([sampling for sampling, _ in these], [own for _, own in these], CONFIG.vocab_size)
    frames = np.random.default_rng(seed).integers(-3, 1500, (len(these), CONFIG.num_codebooks))
    draw = DECODER.draw(text, plain, batch, frames)
    guided = guide(text, plain, batch)
    assert torch.equal(draw.guided, guided)
    np.testing.assert_array_equal(draw.tokens, sample(guided, batch, frames).numpy())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2048), st.integers(0, 2**32), st.booleans())
def test_the_kth_largest_is_torchs(rank: int, seed: int, ties: bool) -> None:
    scores = np.random.default_rng(seed).standard_normal(2048).astype(np.float32)
    scores = scores.round() if ties else scores
    found = sampling.kth_largest(scores, scores.view(np.int32), rank, np.zeros(2048, np.int32))
    assert found == torch.from_numpy(scores).topk(rank).values[-1]


def test_the_noise_is_that_of_the_plain_sampler() -> None:
    rng = np.random.default_rng(0)
    seeds = rng.integers(0, 2**64, 500, np.uint64)
    frames, codebooks, tokens = (rng.integers(0, high, 500) for high in (1500, 8, 2048))
    own = [sampling.gumbel(*each) for each in zip(seeds, frames, codebooks, tokens, strict=True)]
    plain = gumbel(*(torch.from_numpy(each) for each in (seeds.view(np.int64), frames, codebooks, tokens)))
    np.testing.assert_allclose(own, plain.numpy(), rtol=1e-12)


def test_the_bound_on_the_noise_holds_and_is_near_where_noise_is_large() -> None:
    rng = np.random.default_rng(0)
    few_leading_zeros = [(2**64 - 1) ^ int(bits) for bits in rng.integers(0, 2**64, 200, np.uint64) >> np.uint64(9)]
    many = [int(bits) for bits in rng.integers(0, 2**64, 2000, np.uint64)]
    for bits in [0, 2**64 - 1, 2**63, 2**63 - 1, *few_leading_zeros, *many]:
        noise, bound = sampling.gumbel_of(np.uint64(bits)), sampling.noise_upper_bound(np.uint64(bits))
        assert noise < bound
        assert noise < 0.5 or bound - noise < 1
