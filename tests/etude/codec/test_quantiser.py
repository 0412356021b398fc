from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import EncodecModel
from transformers.models.encodec.modeling_encodec import EncodecResidualVectorQuantizer

from etude.codec.quantiser import Quantised, fit, follow, is_unfitted, perplexity, quantise
from tests.etude.codec.conftest import TINY


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clusters(count: int) -> Tensor:
    """Points around 16 places in as many dimensions."""
    places = 5 * torch.eye(16)
    return places.repeat(count // 16, 1) + 0.3 * torch.randn(count, 16, generator=generator())


@pytest.fixture
def quantizer() -> EncodecResidualVectorQuantizer:
    return EncodecModel(TINY.config()).quantizer


def test_a_new_quantiser_is_unfitted_and_a_fitted_one_is_not(quantizer: EncodecResidualVectorQuantizer) -> None:
    assert is_unfitted(quantizer)
    fit(quantizer, clusters(320), generator())
    assert not is_unfitted(quantizer)


def test_k_means_uses_every_code_and_leaves_each_at_the_mean_of_its_latents(
    quantizer: EncodecResidualVectorQuantizer,
) -> None:
    points = clusters(1600)
    fit(quantizer, points, generator(), iterations=50)
    quantised = quantise(quantizer, points.T[None])
    for layer, codes, residuals in zip(quantizer.layers, quantised.codes, quantised.residuals, strict=True):
        book = layer.codebook
        assert book.cluster_size.min() > 0
        assert float(book.cluster_size.sum()) == pytest.approx(16)
        for code in range(16):
            torch.testing.assert_close(book.embed[code], residuals[codes == code].mean(0), atol=0.05, rtol=0)


def test_each_codebook_leaves_less_over_than_the_one_before(quantizer: EncodecResidualVectorQuantizer) -> None:
    points = clusters(1600)
    fit(quantizer, points, generator())
    power = quantise(quantizer, points.T[None]).residuals.square().mean((1, 2))
    assert power.diff().lt(0).all()


def test_too_few_latents_for_k_means_are_refused(quantizer: EncodecResidualVectorQuantizer) -> None:
    with pytest.raises(ValueError, match="at least as many latents as codes, 16, and has 10"):
        fit(quantizer, torch.zeros(10, 16), generator())


def test_it_quantises_as_transformers_does(quantizer: EncodecResidualVectorQuantizer) -> None:
    fit(quantizer, clusters(320), generator())
    latents = clusters(48).reshape(2, 24, 16).transpose(1, 2)
    found = quantise(quantizer, latents)
    codes = quantizer.encode(latents)
    assert torch.equal(found.codes, codes.reshape(4, -1))
    torch.testing.assert_close(found.latents, quantizer.decode(codes))


def test_the_gradient_goes_straight_through(quantizer: EncodecResidualVectorQuantizer) -> None:
    fit(quantizer, clusters(320), generator())
    latents = clusters(48).reshape(2, 24, 16).transpose(1, 2).requires_grad_()
    wanted = torch.randn(2, 16, 24)
    (quantise(quantizer, latents).latents * wanted).sum().backward()
    assert latents.grad is not None
    torch.testing.assert_close(latents.grad, wanted)


def test_the_commitment_draws_latents_to_their_codes(quantizer: EncodecResidualVectorQuantizer) -> None:
    fit(quantizer, clusters(320), generator())
    latents = clusters(48).T[None].requires_grad_()
    before = quantise(quantizer, latents)
    before.commitment.backward()
    assert latents.grad is not None
    after = quantise(quantizer, (latents - latents.grad).detach())
    assert after.commitment < before.commitment


def test_codes_are_moving_averages_of_what_they_stood_for(quantizer: EncodecResidualVectorQuantizer) -> None:
    fit(quantizer, clusters(320), generator())
    book = quantizer.layers[0].codebook
    size, total = book.cluster_size.clone(), book.embed_avg.clone()
    points = clusters(64) + 0.1
    quantised = quantise(quantizer, points.T[None])
    assert follow(quantizer, quantised, generator()) == 0
    for code in range(16):
        mine = points[quantised.codes[0] == code]
        size[code] = 0.99 * size[code] + 0.01 * 16 * len(mine) / 64
        total[code] = 0.99 * total[code] + 0.01 * 16 * mine.sum(0) / 64
    torch.testing.assert_close(book.cluster_size, size)
    torch.testing.assert_close(book.embed, total / size[:, None])


def test_dead_codes_move_to_latents_of_the_batch(quantizer: EncodecResidualVectorQuantizer) -> None:
    fit(quantizer, clusters(320), generator())
    book = quantizer.layers[0].codebook
    book.cluster_size[3], book.embed[3], book.embed_avg[3] = 0.001, 1e4, 10.0
    points = clusters(64)
    assert follow(quantizer, quantise(quantizer, points.T[None]), generator()) == 1
    assert (book.embed[3] - points).abs().amax(1).min() < 1e-6


def test_more_codes_may_be_dead_than_there_are_latents(quantizer: EncodecResidualVectorQuantizer) -> None:
    points = torch.randn(3, 16)
    codes = torch.zeros(4, 3, dtype=torch.long)
    residuals = points.expand(4, 3, 16)
    assert follow(quantizer, Quantised(points, codes, residuals, torch.tensor(0.0)), generator()) == 4 * 15
    assert quantizer.layers[0].codebook.embed.isfinite().all()


def test_perplexity_is_the_number_of_codes_used_alike() -> None:
    assert perplexity(torch.tensor([2.0, 2.0, 0.0, 2.0, 2.0])) == pytest.approx(4)
    assert perplexity(torch.tensor([0.0, 7.0])) == pytest.approx(1)


def test_fewer_codebooks_are_heard_where_depths_say_so_and_the_rest_is_told_all_the_same() -> None:
    quantizer = EncodecModel(TINY.config()).quantizer
    latents = torch.randn(3, TINY.latent_width, 40, generator=torch.Generator().manual_seed(0))
    fit(quantizer, latents.transpose(1, 2).flatten(0, 1), torch.Generator().manual_seed(0))
    whole = quantise(quantizer, latents)
    some = quantise(quantizer, latents, torch.tensor([4, 1, 2]))
    assert torch.equal(whole.codes, some.codes)
    assert torch.equal(whole.residuals, some.residuals)
    assert torch.allclose(some.latents[0], whole.latents[0])
    books = [
        layer.codebook.embed[codes].view(3, 40, -1) for layer, codes in zip(quantizer.layers, whole.codes, strict=True)
    ]
    torch.testing.assert_close(some.latents[1], books[0][1].T)
    torch.testing.assert_close(some.latents[2], (books[0] + books[1])[2].T)
