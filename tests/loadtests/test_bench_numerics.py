"""How far a decoder is from another, and that the benchmark finds what the 8-bit decoder promises."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from deployments.language_model.decoder import HostDecoder
from deployments.language_model.engine.engine import Engine
from deployments.messages import CodeRequest
from loadtests.bench_numerics import build, main, own_tokens
from loadtests.measuring.requests import SAMPLING
from loadtests.measuring.teacher_forcing import Distance, guided, teacher_forced


@pytest.fixture(scope="module")
def float32() -> HostDecoder:
    return build("tiny", "float32", 40)


def test_the_last_line_has_both_types_within_what_is_promised(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--models", "tiny", "--frames", "40"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    for tokens in ("random", "own"):
        for dtype in ("int8", "bfloat16"):
            measured = figures["tiny"][tokens][dtype]
            assert 0 < measured["kl_nats"] <= measured["worst_kl_nats"] < 0.02
            assert measured["top_1_agreement"] > 0.9


def test_the_distance_of_two_coins_is_the_textbook_s() -> None:
    fair, loaded = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    distance = Distance.between(fair, loaded)
    assert distance.kl_nats == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    assert Distance.between(fair, fair) == Distance(0, 0, 1)


def test_a_decoder_of_other_weights_is_far_away(float32: HostDecoder) -> None:
    states = np.ones((3, float32.config.text_width), np.float32)
    tokens = np.zeros((20, float32.config.num_codebooks), np.int64)
    logits = teacher_forced(float32, tokens, states)
    assert Distance.between(logits, logits.flip(-1)).kl_nats > 0.02


def test_its_own_tokens_forced_give_the_logits_that_it_drew_them_from(
    float32: HostDecoder,
) -> None:
    """The slow way: the engine itself, watched."""
    frames, config = 20, float32.config
    states = np.random.default_rng(0).standard_normal((5, config.text_width)).astype(np.float32)
    drawn: dict[int, torch.Tensor] = {}
    engine = Engine(float32, num_slots=1, max_frames=frames, on_logits=lambda _, step, it: drawn.update({step: it}))
    engine.add(CodeRequest("teacher", states, frames, 0, SAMPLING))
    while not engine.idle:
        engine.step()
    tokens = own_tokens(float32, states, frames)
    logits = guided(teacher_forced(float32, tokens, states), SAMPLING.guidance_scale)
    torch.testing.assert_close(logits, torch.stack([drawn[step] for step in range(frames)]), atol=1e-4, rtol=1e-4)
