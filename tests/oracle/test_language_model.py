"""The decoder against transformers': teacher-forced logits and greedy codes. The comparison is itself tested."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from deployments.language_model import model as model_module
from deployments.language_model.config import DecoderConfig
from deployments.language_model.engine.engine import Engine
from deployments.language_model.engine.request import apply_delay, num_steps
from deployments.language_model.engine.step import Rows, SlotPosition
from deployments.language_model.loading import make_decoder
from deployments.language_model.model import KVCache, MusicgenDecoder
from deployments.messages import CodeRequest, Sampling
from tests.oracle.reference import Pair, random_text_states, relative_error

TOLERANCE = 1e-4
NUM_FRAMES = 24

Plant = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture
def codes(models: Pair) -> np.ndarray:
    shape = (models.config.num_codebooks, NUM_FRAMES)
    return np.random.default_rng(3).integers(0, models.config.vocab_size, shape).astype(np.int16)


@pytest.fixture
def text_states(models: Pair) -> np.ndarray:
    return random_text_states(7, models.config.text_width)


def inputs_of(codes: np.ndarray, config: DecoderConfig) -> np.ndarray:
    """What is read at the first T positions, [K, T]: the start, then the columns of the codes [K, T] but the last."""
    columns = apply_delay(codes, config.delays, num_steps(codes.shape[1], config.delays), config.pad_token)
    start = np.full((config.num_codebooks, 1), config.pad_token)
    return np.concatenate([start, columns[:, : codes.shape[1] - 1]], axis=1)


def our_logits(models: Pair, codes: np.ndarray, text_states: np.ndarray) -> Tensor:
    """[2 (with and without the text), T, K, V], every position at once, through the rows the engine uses."""
    config, num_positions = models.config, codes.shape[1]
    inputs = inputs_of(codes, config).T
    decoder = MusicgenDecoder(config, models.weights, num_positions)
    cache = decoder.new_cache(num_slots=2)
    decoder.read_text(cache, 1, torch.from_numpy(text_states))
    index = [(1, branch, position) for position in range(num_positions) for branch in range(2)]
    slots, branches, positions = np.ascontiguousarray(np.array(index).T)
    tokens = inputs.repeat(2, axis=0)
    places = [SlotPosition(1, position, 2 * position, 2) for position in range(num_positions)]
    logits = decoder.logits(decoder.hidden(Rows(tokens, slots, branches, positions, places), cache))
    return logits.unflatten(0, (num_positions, 2)).transpose(0, 1)


@torch.inference_mode()
def their_logits(models: Pair, codes: np.ndarray, text_states: np.ndarray) -> Tensor:
    """The same from transformers, whose unconditional row sees zeros under a zero mask."""
    config = models.config
    inputs = inputs_of(codes, config)
    states = torch.from_numpy(text_states)
    mask = torch.ones(len(states), dtype=torch.long)
    logits = models.theirs(
        encoder_outputs=BaseModelOutput(last_hidden_state=torch.stack([states, torch.zeros_like(states)])),
        attention_mask=torch.stack([mask, torch.zeros_like(mask)]),
        decoder_input_ids=torch.from_numpy(inputs).repeat(2, 1),
    ).logits
    return logits.unflatten(0, (2, config.num_codebooks)).transpose(1, 2)


def our_greedy_codes(models: Pair, text_states: np.ndarray, num_frames: int) -> np.ndarray:
    decoder = make_decoder(models.config, models.weights, "float32", num_frames, num_threads=1)
    engine = Engine(decoder, num_slots=1, max_frames=num_frames)
    engine.add(CodeRequest("greedy", text_states, num_frames, 0, Sampling(temperature=0)))
    parts = []
    while not engine.idle:
        parts += [frames.codes for frames in engine.step()]
    return np.concatenate(parts, axis=1)


@torch.inference_mode()
def their_greedy_codes(
    models: Pair, prompt_ids: Tensor, num_frames: int, monkeypatch: pytest.MonkeyPatch
) -> np.ndarray:
    """What `generate` hands its codec. It feeds pads in its last K - 1 steps: K frames more are asked for, then cut."""
    codec, handed = models.theirs.audio_encoder, []
    decode = codec.decode

    def remember(codes: Tensor, **options: Any) -> Any:
        handed.append(codes)
        return decode(codes, **options)

    with monkeypatch.context() as patch:
        patch.setattr(codec, "decode", remember)
        models.theirs.generate(
            input_ids=prompt_ids,
            attention_mask=torch.ones_like(prompt_ids),
            do_sample=False,
            guidance_scale=3.0,
            max_length=num_frames + 2 * models.config.num_codebooks,
        )
    return handed[0][0, 0, :, :num_frames].numpy()


def test_greedy_codes_equal_transformers_for_200_frames(models: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt_ids = torch.tensor([[11, 23, 42, 99, 1]])
    with torch.inference_mode():
        text_states = models.theirs.text_encoder(prompt_ids).last_hidden_state[0].numpy()
    theirs = their_greedy_codes(models, prompt_ids, 200, monkeypatch)
    assert len(np.unique(theirs)) > 20, "a reference stuck on few tokens would prove little"
    np.testing.assert_array_equal(our_greedy_codes(models, text_states, 200), theirs)


def test_teacher_forced_logits_equal_transformers(models: Pair, codes: np.ndarray, text_states: np.ndarray) -> None:
    ours, theirs = our_logits(models, codes, text_states), their_logits(models, codes, text_states)
    for branch in range(2):
        assert relative_error(ours[branch], theirs[branch]) < TOLERANCE
    guided = [without + (text - without) * 3.0 for text, without in (ours, theirs)]
    assert relative_error(*guided) < TOLERANCE


def test_one_changed_code_or_word_moves_the_logits_a_hundred_tolerances(
    models: Pair, codes: np.ndarray, text_states: np.ndarray
) -> None:
    theirs = their_logits(models, codes, text_states)
    other_codes = codes.copy()
    other_codes[0, 3] ^= 1
    assert relative_error(our_logits(models, other_codes, text_states), theirs) > 100 * TOLERANCE
    other_text = text_states.copy()
    other_text[2] = random_text_states(1, models.config.text_width, seed=9)
    assert relative_error(our_logits(models, codes, other_text), theirs) > 100 * TOLERANCE


def _reads_one_position_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    read = KVCache.read
    monkeypatch.setattr(
        KVCache, "read", lambda self, layer, slot, branches, n: read(self, layer, slot, branches, max(1, n - 1))
    )


def _padding_is_not_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    read = MusicgenDecoder.read_text
    padded = torch.nn.functional.pad
    monkeypatch.setattr(
        MusicgenDecoder, "read_text", lambda self, cache, slot, s: read(self, cache, slot, padded(s, (0, 0, 0, 3)))
    )


def _positions_are_one_late(monkeypatch: pytest.MonkeyPatch) -> None:
    positions = model_module.sinusoidal_positions
    monkeypatch.setattr(model_module, "sinusoidal_positions", lambda n, width: positions(n + 1, width)[1:])


def _codebooks_are_not_delayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DecoderConfig, "delays", property(lambda self: (0,) * self.num_codebooks))


def _guidance_has_the_other_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    guide = model_module.guide
    monkeypatch.setattr(model_module, "guide", lambda text, without, batch: guide(without, text, batch))


FORWARD_BUGS = [
    _reads_one_position_too_few,
    _padding_is_not_masked,
    _positions_are_one_late,
    _codebooks_are_not_delayed,
]


@pytest.mark.parametrize("plant", FORWARD_BUGS)
def test_a_planted_bug_moves_the_logits_a_hundred_tolerances(
    models: Pair, codes: np.ndarray, text_states: np.ndarray, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = their_logits(models, codes, text_states)
    plant(monkeypatch)
    assert relative_error(our_logits(models, codes, text_states), theirs) > 100 * TOLERANCE


@pytest.mark.parametrize("plant", [*FORWARD_BUGS, _guidance_has_the_other_sign])
def test_a_planted_bug_changes_the_greedy_codes(
    models: Pair, text_states: np.ndarray, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = our_greedy_codes(models, text_states, 40)
    plant(monkeypatch)
    assert not np.array_equal(our_greedy_codes(models, text_states, 40), right)
