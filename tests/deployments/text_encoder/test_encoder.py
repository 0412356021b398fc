from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import T5Config, T5EncoderModel

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.checkpoints.config import CheckpointError
from deployments.text_encoder.encoder import TextEncoder
from tests.tiny import tiny_checkpoint

words = st.sampled_from(["slow", "piano", "jazz", "with", "drums", "xylophone", "improvisation", "qq"])
prompts = st.lists(words, max_size=25).map(" ".join)


@pytest.fixture(scope="module")
def encoder(checkpoint: Checkpoint) -> TextEncoder:
    return TextEncoder.from_checkpoint(checkpoint)


@pytest.fixture
def batch_shapes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(rows, padded length) of every run of the model from here on."""
    shapes: list[tuple[int, int]] = []
    forward = T5EncoderModel.forward

    def spy(self: T5EncoderModel, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        shapes.append((input_ids.shape[0], input_ids.shape[1]))
        return forward(self, input_ids=input_ids, attention_mask=attention_mask)

    monkeypatch.setattr(T5EncoderModel, "forward", spy)
    return shapes


def test_each_prompt_gets_the_states_of_its_own_tokens_in_order(encoder: TextEncoder) -> None:
    states = encoder.encode(["slow piano", "", "jazz drums with piano"])
    assert [each.shape for each in states] == [(3, 32), (1, 32), (5, 32)]
    assert {each.dtype for each in states} == {np.dtype(np.float32)}
    assert encoder.width == 32


def test_no_prompts_have_no_states(encoder: TextEncoder) -> None:
    assert encoder.encode([]) == []


@pytest.mark.usefixtures("threads")
@settings(max_examples=40, deadline=None)
@given(batch=st.lists(prompts, min_size=1, max_size=8))
def test_no_bit_depends_on_the_other_prompts_of_a_batch(encoder: TextEncoder, batch: list[str]) -> None:
    for prompt, together in zip(batch, encoder.encode(batch), strict=True):
        [alone] = encoder.encode([prompt])
        assert np.array_equal(together, alone)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("num_prompts", [2, 3, 5, 8])
def test_no_bit_depends_on_the_batch_at_the_width_of_t5_base(encoder: TextEncoder, num_prompts: int) -> None:
    torch.manual_seed(0)
    config = T5Config(d_model=768, d_kv=64, d_ff=3072, num_layers=2, num_heads=12, vocab_size=1024)
    config._attn_implementation = "eager"
    wide = TextEncoder(T5EncoderModel(config).eval(), encoder._tokenizer)
    batch = [f"{'slow piano ' * i} jazz" for i in range(num_prompts)]
    for prompt, together in zip(batch, wide.encode(batch), strict=True):
        assert np.array_equal(together, wide.encode([prompt])[0])


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("num_copies", [2, 3, 4, 8, 20])
def test_copies_of_a_prompt_get_the_same_bits(encoder: TextEncoder, num_copies: int) -> None:
    prompt = "slow piano with qq drums"
    [alone] = encoder.encode([prompt])
    assert all(np.array_equal(alone, copy) for copy in encoder.encode([prompt] * num_copies))


def test_masked_padding_never_reaches_the_states(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = ["slow piano", "jazz drums with a xylophone"]
    before = encoder.encode(batch)
    forward = T5EncoderModel.forward
    monkeypatch.setattr(
        T5EncoderModel,
        "forward",
        lambda self, input_ids, attention_mask: forward(
            self, input_ids.where(attention_mask == 1, 300), attention_mask
        ),
    )
    for states, with_other_padding in zip(before, encoder.encode(batch), strict=True):
        assert np.array_equal(states, with_other_padding)


def test_prompts_run_together_when_they_pad_to_the_same_length(
    encoder: TextEncoder, batch_shapes: list[tuple[int, int]]
) -> None:
    encoder.encode(["slow piano", "piano " * 20, "jazz", "piano " * 31, ""])
    assert batch_shapes == [(3, 16), (2, 32)]


def test_no_batch_holds_more_tokens_than_the_longest_prompt_may(
    checkpoint: Checkpoint, batch_shapes: list[tuple[int, int]]
) -> None:
    encoder = TextEncoder.from_checkpoint(checkpoint, max_tokens=64)
    states = encoder.encode(["piano"] * 6 + ["piano " * 40] * 2)
    assert batch_shapes == [(4, 16), (2, 16), (1, 48), (1, 48)]
    assert [len(each) for each in states] == [2] * 6 + [41] * 2


def test_a_prompt_beyond_the_limit_is_cut_and_still_ends(checkpoint: Checkpoint) -> None:
    encoder = TextEncoder.from_checkpoint(checkpoint, max_tokens=20)
    cut, whole = encoder.encode(["piano " * 500, "piano " * 19])
    assert cut.shape == (20, 32)
    assert np.array_equal(cut, whole)


def test_sixteen_bit_weights_are_run_in_thirty_two(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(tiny_checkpoint(tmp_path / "model", dtype=torch.bfloat16))
    encoder = TextEncoder.from_checkpoint(checkpoint)
    assert {parameter.dtype for parameter in encoder._model.parameters()} == {torch.float32}


def test_loading_leaves_the_checkpoints_configuration_as_it_was(checkpoint: Checkpoint) -> None:
    before = checkpoint.text_encoder_config.to_dict()
    TextEncoder.from_checkpoint(checkpoint)
    assert checkpoint.text_encoder_config.to_dict() == before


def test_a_text_encoder_other_than_t5_is_refused(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(tiny_checkpoint(tmp_path / "model"))
    checkpoint.text_encoder_config.model_type = "bert"
    with pytest.raises(CheckpointError, match="'bert'"):
        TextEncoder.from_checkpoint(checkpoint)


def test_tensors_that_do_not_fit_the_configuration_are_named(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(tiny_checkpoint(tmp_path / "model"))
    checkpoint.text_encoder_config.num_layers = 3
    with pytest.raises(CheckpointError, match=r"missing: encoder\.block\.2"):
        TextEncoder.from_checkpoint(checkpoint)


def test_a_checkpoint_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"neither tokenizer\.json nor spiece\.model"):
        TextEncoder.from_checkpoint(Checkpoint.open(folder))


@pytest.mark.parametrize("content", ["", "{", "{}", '{"model": {"type": "Unigram"}}'])
def test_a_broken_tokenizer_is_refused(tmp_path: Path, content: str) -> None:
    folder = tiny_checkpoint(tmp_path / "model")
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer in .* can't be read"):
        TextEncoder.from_checkpoint(Checkpoint.open(folder))


def test_a_tokenizer_with_more_pieces_than_the_encoder_knows_is_refused(tmp_path: Path) -> None:
    small = Checkpoint.open(tiny_checkpoint(tmp_path / "model"))
    small.text_encoder_config.vocab_size = 100
    with pytest.raises(CheckpointError, match="100"):
        TextEncoder.from_checkpoint(small)
