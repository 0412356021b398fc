from __future__ import annotations

from pathlib import Path

import pytest
import torch

from etude.codec.crops import Crops
from etude.codec.initialise import new_codec
from etude.codec.metrics import measure, reconstruct
from etude.codec.quantiser import fit
from tests.etude.codec.conftest import TINY, notes


def test_reconstruction_is_what_transformers_makes_of_a_sound() -> None:
    codec = new_codec(TINY, notes(2, 12800), seed=0).eval()
    sound = notes(2, 6500)
    with torch.no_grad():
        fit(codec.quantizer, codec.encoder(notes(4, 32000)[:, None]).transpose(1, 2).flatten(0, 1), torch.Generator())
        wanted = codec(sound[:, None])
    restored, codes = reconstruct(codec, sound)
    assert torch.equal(restored, wanted.audio_values[:, 0, :6500])
    assert codes is not None
    assert torch.equal(codes, wanted.audio_codes[0])
    assert codes.shape == (2, 4, 11)


def test_a_codec_without_codes_is_far_and_one_without_a_quantiser_near(shards: Path) -> None:
    codec = new_codec(TINY, notes(8, 32000), seed=0).train()
    crops = Crops(shards, sample_rate=32000, num_samples=12800)
    mute, open_ = measure(codec, crops, pieces=4), measure(codec, crops, pieces=4, quantised=False)
    assert codec.training
    assert mute.codebook_use == pytest.approx([1 / 16] * 4)
    assert mute.perplexity == pytest.approx([1] * 4)
    assert mute.spectral_convergence == pytest.approx(1, abs=0.05)
    assert open_.codebook_use == ()
    assert open_.spectral_convergence < 0.6
    assert open_.mel_distance < 0.7 * mute.mel_distance
