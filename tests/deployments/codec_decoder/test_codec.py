from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.checkpoints.config import CheckpointError
from deployments.codec_decoder.codec import Codec, decode
from tests.deployments.codec_decoder.random_codec import config, random_codec, random_codes, tensors
from tests.tiny import tiny_checkpoint


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("use_causal_conv", True),
        ("normalize", True),
        ("norm_type", "time_group_norm"),
        ("pad_mode", "constant"),
        ("audio_channels", 2),
        ("chunk_length_s", 1.0),
    ],
)
def test_a_codec_of_another_kind_is_refused_by_the_field_that_says_so(field: str, value: Any) -> None:
    with pytest.raises(CheckpointError, match=f"{field}={value!r}"):
        Codec(config("musicgen", **{field: value}), tensors(config("musicgen")), num_codebooks=4)


def test_codebooks_that_are_not_the_codecs_own_number_are_refused() -> None:
    with pytest.raises(CheckpointError, match="8 codebooks for 1 channels, but the codec has 4"):
        Codec(config("musicgen"), tensors(config("musicgen")), num_codebooks=8)


@pytest.mark.parametrize("name", ["decoder.layers.1.lstm.weight_hh_l1", "quantizer.layers.3.codebook.embed"])
def test_a_missing_tensor_is_named(name: str) -> None:
    found = tensors(config("musicgen"))
    del found[name]
    with pytest.raises(CheckpointError, match=name):
        Codec(config("musicgen"), found, num_codebooks=4)


def test_a_tensor_left_over_is_named() -> None:
    found = {**tensors(config("musicgen")), "decoder.layers.99.conv.weight": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"decoder\.layers\.99"):
        Codec(config("musicgen"), found, num_codebooks=4)


@pytest.mark.parametrize("code", [-1, 256, 32_767])
def test_a_code_out_of_range_is_refused_with_the_range(codec: Codec, code: int) -> None:
    codes = random_codes(codec, 5)
    codes[2, 3] = code
    with pytest.raises(ValueError, match=r"codes must be in \[0, 255\]"):
        decode(codec, codes)


@pytest.mark.parametrize(
    "codes",
    [np.zeros((3, 5), np.int16), np.zeros((1, 4, 5), np.int16), np.zeros((4, 5), np.float32), np.zeros(4, np.int16)],
    ids=lambda codes: f"{codes.dtype} {codes.shape}",
)
def test_codes_of_a_wrong_shape_or_type_are_refused(codec: Codec, codes: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"codes must be integers of shape \[4, frames\]"):
        decode(codec, codes)


def test_a_frame_is_embedded_as_the_sum_of_its_codes_vectors() -> None:
    codec = random_codec("musicgen")
    codes = random_codes(codec, 3)
    by_hand = torch.stack([sum(codec.codebooks[k, codes[k, t]] for k in range(4)) for t in range(3)], dim=-1)
    torch.testing.assert_close(codec.embed(codes)[0], by_hand)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_checkpoint_tells_rates_codebooks_and_channels(tmp_path: Path, channels: int) -> None:
    folder = tiny_checkpoint(tmp_path / "model", codebooks=4 * channels, channels=channels)
    codec = Codec.from_checkpoint(Checkpoint.open(folder))
    assert (codec.sample_rate, codec.frame_rate, codec.hop) == (32_000, 50, 640)
    assert (codec.num_codebooks, codec.codebook_size, codec.channels) == (4 * channels, 2048, channels)
    assert decode(codec, random_codes(codec, 10)).shape == (channels, 6_400)


def test_a_language_model_with_more_codes_than_the_codec_is_refused(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(tiny_checkpoint(tmp_path / "model"))
    checkpoint.config.decoder.vocab_size = 4096
    with pytest.raises(CheckpointError, match="4096 codes"):
        Codec.from_checkpoint(checkpoint)


def test_sixteen_bit_weights_are_decoded_in_thirty_two(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "model", dtype=torch.bfloat16)
    codec = Codec.from_checkpoint(Checkpoint.open(folder))
    assert {tensor.dtype for tensor in codec.network.state_dict().values()} == {torch.float32}
    assert codec.codebooks.dtype == torch.float32
