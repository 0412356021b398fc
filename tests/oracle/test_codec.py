"""Decoded sound against transformers' EnCodec, decoded in one run. The comparison is itself tested."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.codec_decoder import seanet as seanet_module
from deployments.codec_decoder.codec import Codec, decode
from deployments.codec_decoder.seanet import SeanetDecoder, Upsample
from tests.oracle.reference import Pair, relative_error

TOLERANCE = 1e-4

Plant = Callable[[pytest.MonkeyPatch, Codec], None]


@pytest.fixture
def codec(models: Pair) -> Codec:
    return Codec.from_checkpoint(Checkpoint.open(models.folder))


def random_codes(num_frames: int) -> np.ndarray:
    return np.random.default_rng(num_frames).integers(0, 2048, (4, num_frames)).astype(np.int16)


def our_sound(codec: Codec, codes: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(decode(codec, codes))


@torch.inference_mode()
def their_sound(models: Pair, codes: np.ndarray) -> torch.Tensor:
    audio_codes = torch.from_numpy(codes.astype(np.int64))[None, None]
    return models.theirs.audio_encoder.decode(audio_codes, [None]).audio_values[0]


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 5, 12, 13, 120])
def test_sound_equals_transformers(models: Pair, codec: Codec, num_frames: int) -> None:
    codes = random_codes(num_frames)
    assert relative_error(our_sound(codec, codes), their_sound(models, codes)) < TOLERANCE


@pytest.mark.parametrize("num_frames", [1, 3, 60])
def test_one_changed_code_moves_the_sound_a_hundred_tolerances(models: Pair, codec: Codec, num_frames: int) -> None:
    codes = random_codes(num_frames)
    theirs = their_sound(models, codes)
    codes[2, num_frames // 2] ^= 1
    assert relative_error(our_sound(codec, codes), theirs) > 100 * TOLERANCE


def _state_of_the_lstm_is_not_carried(monkeypatch: pytest.MonkeyPatch, codec: Codec) -> None:
    lstm = SeanetDecoder.lstm
    monkeypatch.setattr(SeanetDecoder, "lstm", lambda self, x, state: lstm(self, x, None))


def _lstm_has_no_residual(monkeypatch: pytest.MonkeyPatch, codec: Codec) -> None:
    lstm = SeanetDecoder.lstm

    def without(self: SeanetDecoder, x: torch.Tensor, state: seanet_module.LSTMState | None) -> object:
        y, state_after = lstm(self, x, state)
        return y - x, state_after

    monkeypatch.setattr(SeanetDecoder, "lstm", without)


def _no_left_context_before_the_lstm(monkeypatch: pytest.MonkeyPatch, codec: Codec) -> None:
    monkeypatch.setattr(codec.network, "context_before_lstm", (2, 3))


def _no_right_context_before_the_lstm(monkeypatch: pytest.MonkeyPatch, codec: Codec) -> None:
    monkeypatch.setattr(codec.network, "context_before_lstm", (3, 2))


def _no_left_context_after_the_lstm(monkeypatch: pytest.MonkeyPatch, codec: Codec) -> None:
    monkeypatch.setattr(codec.network, "context_after_lstm", (0, 1))


def _no_right_context_after_the_lstm(monkeypatch: pytest.MonkeyPatch, codec: Codec) -> None:
    monkeypatch.setattr(codec.network, "context_after_lstm", (1, 0))


def _ends_are_padded_with_zeros(monkeypatch: pytest.MonkeyPatch, codec: Codec) -> None:
    monkeypatch.setattr(seanet_module, "_pad_by_reflection", lambda x, left, right: F.pad(x, (left, right)))


def _upsampling_is_cut_a_sample_early(monkeypatch: pytest.MonkeyPatch, codec: Codec) -> None:
    for layer in codec.network.layers:
        if isinstance(layer, Upsample):
            monkeypatch.setattr(layer, "left", layer.stride // 2)


def _codebooks_are_in_another_order(monkeypatch: pytest.MonkeyPatch, codec: Codec) -> None:
    monkeypatch.setattr(codec, "codebooks", codec.codebooks.flip(0))


@pytest.mark.parametrize(
    "plant",
    [
        _state_of_the_lstm_is_not_carried,
        _lstm_has_no_residual,
        _no_left_context_before_the_lstm,
        _no_right_context_before_the_lstm,
        _no_left_context_after_the_lstm,
        _no_right_context_after_the_lstm,
        _ends_are_padded_with_zeros,
        _upsampling_is_cut_a_sample_early,
        _codebooks_are_in_another_order,
    ],
)
def test_a_planted_bug_moves_the_sound_a_hundred_tolerances(
    models: Pair, codec: Codec, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = random_codes(60)
    plant(monkeypatch, codec)
    assert relative_error(our_sound(codec, codes), their_sound(models, codes)) > 100 * TOLERANCE


def test_short_clips_padded_in_another_way_would_be_noticed(
    models: Pair, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = random_codes(2)
    _ends_are_padded_with_zeros(monkeypatch, codec)
    assert relative_error(our_sound(codec, codes), their_sound(models, codes)) > 100 * TOLERANCE
