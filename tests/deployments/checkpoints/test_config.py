from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.checkpoints.config import CheckpointError, read_config
from tests.deployments.checkpoints.legacy_config import MUSICGEN_SMALL
from tests.deployments.checkpoints.rewritten import with_config


def test_todays_config_opens(tiny: Path) -> None:
    checkpoint = Checkpoint.open(tiny)
    assert checkpoint.decoder_config.num_hidden_layers == 2
    assert checkpoint.decoder_config.vocab_size == 64
    assert checkpoint.text_encoder_config.d_model == 32
    assert checkpoint.codec_config.sampling_rate == 32000
    assert checkpoint.codec_config.num_quantizers == 4
    assert checkpoint.codec_config.frame_rate == 50


def test_the_config_of_musicgen_small_from_2023_opens(tiny: Path, tmp_path: Path) -> None:
    def replace(config: dict[str, Any]) -> None:
        config.clear()
        config.update(MUSICGEN_SMALL)

    checkpoint = Checkpoint.open(with_config(tiny, tmp_path / "old", replace))
    decoder, text_encoder, codec = (
        checkpoint.decoder_config,
        checkpoint.text_encoder_config,
        checkpoint.codec_config,
    )
    assert (decoder.hidden_size, decoder.num_hidden_layers, decoder.num_attention_heads) == (1024, 24, 16)
    assert (decoder.ffn_dim, decoder.num_codebooks, decoder.vocab_size) == (4096, 4, 2048)
    assert (decoder.tie_word_embeddings, decoder.audio_channels, decoder.pad_token_id) == (False, 1, 2048)
    assert (text_encoder.d_model, text_encoder.num_layers, text_encoder.feed_forward_proj) == (768, 12, "relu")
    assert (codec.upsampling_ratios, codec.num_filters, codec.num_quantizers) == ([8, 5, 4, 4], 64, 4)
    assert (codec.use_causal_conv, codec.use_conv_shortcut, codec.hop_length) == (False, False, 640)


def test_broken_json_is_one_sentence(tiny: Path, tmp_path: Path) -> None:
    folder = with_config(tiny, tmp_path / "broken", lambda config: None)
    (folder / "config.json").write_text('{"model_type": "musicgen",')
    with pytest.raises(CheckpointError, match=r"config\.json can't be read: Expecting"):
        Checkpoint.open(folder)


def test_bytes_that_are_no_text_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(CheckpointError, match=r"config\.json can't be read"):
        read_config(tmp_path)


@pytest.mark.parametrize("content", ["[]", "3", "null", "{}"])
def test_json_that_is_no_config_is_one_sentence(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"must be of the type 'musicgen', and its config\.json says None"):
        read_config(tmp_path)


def test_another_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(CheckpointError, match=r"must be of the type 'musicgen', and its config\.json says 'llama'"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("part", "other"),
    [("text_encoder", "umt5"), ("audio_encoder", "dac"), ("decoder", "musicgen_melody_decoder")],
)
def test_another_kind_of_part_is_named(part: str, other: str, tiny: Path, tmp_path: Path) -> None:
    folder = with_config(tiny, tmp_path / "other", lambda config: config[part].update(model_type=other))
    with pytest.raises(CheckpointError, match=f"the {part} of the model in .* says '{other}'"):
        Checkpoint.open(folder)


def test_a_part_left_out_is_not_filled_with_defaults(tiny: Path, tmp_path: Path) -> None:
    folder = with_config(tiny, tmp_path / "partial", lambda config: config.pop("audio_encoder"))
    with pytest.raises(CheckpointError, match="the audio_encoder of the model"):
        Checkpoint.open(folder)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda config: config["decoder"].update(hidden_size="wide"),
        lambda config: config["decoder"].update(audio_channels=3),
        lambda config: config["audio_encoder"].update(norm_type="no_norm"),
    ],
)
def test_values_transformers_refuses_are_one_sentence(
    spoil: Callable[[dict[str, Any]], None], tiny: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json is not a MusicGen's: .") as caught:
        Checkpoint.open(with_config(tiny, tmp_path / "spoilt", spoil))
    assert "\n" not in str(caught.value)
