from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from transformers import MusicgenForConditionalGeneration

from etude.language_model.encoder import CodeEncoder, CodeFormat


@pytest.fixture
def encoder(model: MusicgenForConditionalGeneration) -> CodeEncoder:
    return CodeEncoder(model.audio_encoder)


def sound(num_samples: int, channels: int = 1) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal((channels, num_samples))).astype(np.float32)


def test_codes_are_those_of_transformers(model: MusicgenForConditionalGeneration, encoder: CodeEncoder) -> None:
    heard = sound(500)
    codes = encoder.encode(heard)
    assert (codes.dtype, codes.shape) == (np.int16, (4, 50))
    with torch.no_grad():
        theirs = model.audio_encoder.encode(torch.from_numpy(heard)[None]).audio_codes[0, 0]
    np.testing.assert_array_equal(codes, theirs.numpy())


def test_a_last_frame_is_filled_with_silence(encoder: CodeEncoder) -> None:
    heard = sound(493)
    np.testing.assert_array_equal(encoder.encode(heard), encoder.encode(np.pad(heard, ((0, 0), (0, 7)))))


def test_stereo_is_each_channels_codes_side_by_side(model: MusicgenForConditionalGeneration) -> None:
    mono, stereo = CodeEncoder(model.audio_encoder), CodeEncoder(model.audio_encoder, channels=2)
    heard = sound(500, channels=2)
    codes = stereo.encode(heard)
    assert codes.shape == (8, 50)
    np.testing.assert_array_equal(codes[0::2], mono.encode(heard[:1]))
    np.testing.assert_array_equal(codes[1::2], mono.encode(heard[1:]))
    alike = stereo.encode(heard[:1])
    np.testing.assert_array_equal(alike[0::2], alike[1::2])


def test_a_format_survives_16_bits_and_json_but_no_other_codebooks(encoder: CodeEncoder) -> None:
    there = CodeFormat.from_json(encoder.format.to_json())
    assert there == encoder.format
    for layer in encoder._codec.quantizer.layers:
        layer.codebook.embed.copy_(layer.codebook.embed.bfloat16().float())
    assert there.difference(encoder.format) == ""
    encoder._codec.quantizer.layers[2].codebook.embed[3] *= 1.1
    assert there.difference(encoder.format) == "the codebooks have other vectors"
    other = dataclasses.replace(there, sample_rate=16000)
    assert there.difference(other) == "sample_rate is 500 there and 16000 here"
