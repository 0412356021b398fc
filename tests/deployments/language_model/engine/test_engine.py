"""The engine as an owner of slots: joining, leaving, refusing, and never losing one."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from deployments.language_model.decoder import Decoder
from deployments.language_model.engine.engine import Engine
from deployments.language_model.errors import EngineFull
from deployments.messages import CodeRequest, Sampling
from tests.deployments.language_model.random_decoder import collect, request, run


def check(engine: Engine) -> None:
    engine.check_integrity()
    scheduler = engine.scheduler
    assert scheduler.num_free + len(scheduler.running) == scheduler.num_slots


def random_request(name: str, rng: random.Random) -> CodeRequest:
    num_frames = rng.randint(1, 24)
    prompt = None
    if num_frames > 1 and rng.random() < 0.3:
        prompt = np.full((4, rng.randint(1, num_frames - 1)), rng.randrange(192), dtype=np.int16)
    sampling = Sampling(guidance_scale=rng.choice([1.0, 3.0]), top_k=rng.choice([0, 5, 250]))
    made = request(name, num_frames=num_frames, seed=rng.getrandbits(64), prompt_codes=prompt, sampling=sampling)
    return replace(made, priority=rng.random() < 0.1)


@pytest.mark.parametrize("num_operations", [2_500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_random_operations_lose_no_slot(decoder: Decoder, num_operations: int) -> None:
    rng = random.Random(0)
    engine = Engine(decoder, num_slots=4, max_waiting=6, max_frames=24)
    known: list[str] = []
    refused = finished = 0
    for i in range(num_operations):
        action = rng.random()
        if action < 0.25:
            name = f"r{i}"
            try:
                engine.add(random_request(name, rng))
            except EngineFull:
                refused += 1
            else:
                known.append(name)
        elif action < 0.35 and known:
            engine.abort(rng.choice(known))
        else:
            finished += sum(frames.finished for frames in engine.step())
        check(engine)
    assert refused > 100
    assert finished > 100
    for name in known:
        engine.abort(name)
    check(engine)
    assert engine.idle


def test_an_abort_frees_the_slot_at_once_and_the_next_joins(decoder: Decoder) -> None:
    engine = Engine(decoder, num_slots=1, max_frames=64)
    engine.add(request("first"))
    engine.add(request("second", num_frames=2))
    engine.step()
    assert "second" in engine.scheduler
    engine.abort("first")
    assert engine.scheduler.num_free == 1
    assert run(engine).keys() == {"second"}


def test_a_long_resume_does_not_hold_up_those_who_decode(decoder: Decoder) -> None:
    engine = Engine(decoder, num_slots=2, max_frames=500)
    engine.add(request("decoding", num_frames=60))
    prompt = np.zeros((4, 400), dtype=np.int16)
    engine.add(request("resumed", num_frames=410, prompt_codes=prompt))
    made = collect([frames for _ in range(63) for frames in engine.step()])
    assert made["decoding"].shape == (4, 60)
    assert made["resumed"].shape == (4, 10)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_frames": 65}, "1 to 64"),
        ({"num_frames": 0}, "1 to 64"),
        ({"prompt_codes": np.zeros((4, 20), np.int16)}, "20 frames are given already"),
        ({"prompt_codes": np.zeros((3, 2), np.int16)}, r"not \[4, N\]"),
        ({"prompt_codes": np.full((4, 2), 192, np.int16)}, "outside 0 to 191"),
        ({"prompt_codes": np.full((4, 2), -1, np.int16)}, "outside 0 to 191"),
        ({"num_tokens": 0}, "S > 0"),
        ({"num_tokens": 2049}, "2049 tokens, and 2048 is the most"),
    ],
)
def test_a_request_that_cannot_be_made_is_refused_with_the_reason(
    decoder: Decoder, changes: dict[str, object], reason: str
) -> None:
    engine = Engine(decoder, num_slots=1, max_frames=64)
    with pytest.raises(ValueError, match=reason):
        engine.add(request("bad", **changes))
    check(engine)
    assert engine.idle


def test_an_id_in_use_is_refused_and_the_first_keeps_its_place(decoder: Decoder) -> None:
    engine = Engine(decoder, num_slots=1, max_frames=64)
    engine.add(request("same", num_frames=3))
    with pytest.raises(ValueError, match="already here"):
        engine.add(request("same", num_frames=5))
    assert run(engine)["same"].shape == (4, 3)


def test_more_slots_than_rows_are_refused(decoder: Decoder) -> None:
    with pytest.raises(ValueError, match="64 is the most"):
        Engine(decoder, num_slots=33)
