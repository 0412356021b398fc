"""The 8-bit decoder: how near it is to the float32 one, and that its bits depend on nothing but the request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.checkpoints.config import CheckpointError
from deployments.language_model.config import DecoderConfig
from deployments.language_model.decoder import Decoder
from deployments.language_model.engine.engine import Engine
from deployments.language_model.engine.step import Rows, SlotPosition
from deployments.language_model.loading import INT8, fastest_dtype, make_decoder
from deployments.language_model.weights import DecoderWeights, fuse, load_weights
from deployments.messages import CodeRequest
from etude.random_checkpoint import make_checkpoint
from loadtests.measuring.shapes import SHAPES, random_tensors
from tests.deployments.language_model.random_decoder import CONFIG, random_decoder, random_weights, request, run

NUM_POSITIONS = 100

Model = Callable[[Path], tuple[DecoderConfig, DecoderWeights]]


def teacher_forced(decoder: Decoder, num_places: int = NUM_POSITIONS) -> torch.Tensor:
    """Logits [T, 2, K, V] of random tokens in slot 1, both branches."""
    config, rng = decoder.config, np.random.default_rng(0)
    cache = decoder.new_cache(2)
    decoder.read_text(cache, 1, torch.from_numpy(rng.standard_normal((5, config.text_width)).astype(np.float32)))
    tokens = rng.integers(0, config.vocab_size, (NUM_POSITIONS, config.num_codebooks))
    logits = []
    for first in range(0, NUM_POSITIONS, num_places):
        positions = range(first, min(first + num_places, NUM_POSITIONS))
        index = np.array([(1, branch, position) for position in positions for branch in range(2)])
        slots, branches, all_positions = np.ascontiguousarray(index.T)
        places = [SlotPosition(1, position, 2 * i, 2) for i, position in enumerate(positions)]
        rows = Rows(tokens[list(positions)].repeat(2, axis=0), slots, branches, all_positions, places)
        logits.append(decoder.logits(decoder.hidden(rows, cache)).clone())
    return torch.cat(logits).unflatten(0, (NUM_POSITIONS, 2))


def embedded(folder: Path) -> tuple[DecoderConfig, DecoderWeights]:
    checkpoint = Checkpoint.open(make_checkpoint(folder / "embedded"))
    return DecoderConfig.from_transformers(checkpoint.config), load_weights(checkpoint)


def random_tiny(folder: Path) -> tuple[DecoderConfig, DecoderWeights]:
    config = SHAPES["tiny"].config
    return config, fuse(random_tensors(config), config, "float32", "cpu")


@pytest.mark.parametrize("model", [embedded, random_tiny])
def test_it_is_within_0_02_nats_of_float32_and_agrees_on_the_likeliest_token(model: Model, tmp_path: Path) -> None:
    config, weights = model(tmp_path)
    reference = teacher_forced(make_decoder(config, weights, "float32", NUM_POSITIONS, 1), 1).log_softmax(-1)
    ours = teacher_forced(make_decoder(config, weights, INT8, NUM_POSITIONS, 1), 1).log_softmax(-1)
    assert (reference.exp() * (reference - ours)).sum(-1).mean() < 0.02
    assert (reference.argmax(-1) == ours.argmax(-1)).float().mean() > 0.95


def test_the_comparison_would_notice_a_decoder_of_other_weights() -> None:
    reference = teacher_forced(random_decoder("float32"), 1).log_softmax(-1)
    other = make_decoder(CONFIG, random_weights(CONFIG, seed=1), INT8, NUM_POSITIONS, 1)
    strange = teacher_forced(other, 1).log_softmax(-1)
    assert (reference.exp() * (reference - strange)).sum(-1).mean() > 0.5


def test_its_bits_do_not_depend_on_the_number_of_threads_or_of_rows() -> None:
    one = teacher_forced(random_decoder(INT8, num_threads=1), 1)
    for threads, places in ((1, 7), (2, 1), (2, 32), (3, 5)):
        assert torch.equal(teacher_forced(random_decoder(INT8, num_threads=threads), places), one)


def test_a_resumed_generation_goes_on_with_the_same_codes() -> None:
    engine = Engine(random_decoder(INT8), num_slots=3, max_frames=64)
    whole = request("whole", num_frames=40)
    codes = run(engine, whole)["whole"]
    for stop in (1, 3, 17, 39):
        resumed = CodeRequest("on", whole.text_states, 40, whole.seed, whole.sampling, codes[:, :stop])
        np.testing.assert_array_equal(run(engine, resumed, request("beside", seed=stop))["on"], codes[:, stop:])


def test_the_longest_prompt_fits_beside_the_shortest_generation() -> None:
    engine = Engine(random_decoder(INT8, max_frames=2), num_slots=1, max_frames=2)
    assert run(engine, request("long words", num_frames=2, num_tokens=2048))["long words"].shape == (4, 2)


def test_heads_of_another_width_are_refused_by_name_and_not_chosen() -> None:
    config = replace(CONFIG, num_heads=4)
    with pytest.raises(CheckpointError, match="heads of 64"):
        make_decoder(config, random_weights(config), INT8, 8, 1)
    assert fastest_dtype(config, "cpu") in ("bfloat16", "float32")
    assert fastest_dtype(CONFIG, "cpu") == INT8
    assert fastest_dtype(CONFIG, "cuda") == "bfloat16"
