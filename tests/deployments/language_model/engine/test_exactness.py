"""A generation depends on its request alone: bit for bit, with neighbours, when resumed, and for every length."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from deployments.language_model.decoder import Decoder
from deployments.language_model.engine.engine import Engine
from deployments.messages import CodeRequest, Sampling
from tests.deployments.language_model.random_decoder import collect, random_decoder, request, run

SAMPLINGS = [
    Sampling(),
    Sampling(guidance_scale=1.0),
    Sampling(temperature=0.0),
    Sampling(temperature=0.7, top_k=0),
    Sampling(top_k=10, top_p=0.9),
    Sampling(top_k=0, top_p=0.5, guidance_scale=5.0),
    Sampling(guidance_scale=0.0),
    Sampling(temperature=2.0, top_k=1),
]
EIGHT = [
    request(f"r{i}", num_frames=12 + 3 * i, seed=i, num_tokens=1 + 2 * i, sampling=sampling)
    for i, sampling in enumerate(SAMPLINGS)
]


class Recorder:
    """Every guided logit [K, V] the engine sampled from, by request."""

    def __init__(self) -> None:
        self.logits: dict[str, list[Tensor]] = {}

    def __call__(self, request_id: str, step: int, logits: Tensor) -> None:
        seen = self.logits.setdefault(request_id, [])
        seen.append(logits.clone())

    def of(self, request_id: str) -> Tensor:
        return torch.stack(self.logits[request_id])


def alone(decoder: Decoder, one: CodeRequest) -> tuple[np.ndarray, Tensor]:
    recorder = Recorder()
    engine = Engine(decoder, num_slots=1, max_frames=64, on_logits=recorder)
    return run(engine, one)[one.request_id], recorder.of(one.request_id)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_eight_requests_sharing_steps_each_get_what_they_get_alone(dtype: str, threads: int) -> None:
    decoder, recorder = random_decoder(dtype, num_threads=threads), Recorder()
    engine = Engine(decoder, num_slots=5, max_frames=64, on_logits=recorder)
    frames, waiting = [], list(EIGHT)
    for step in range(200):
        if step % 4 == 0 and waiting:
            engine.add(waiting.pop(0))
        frames += engine.step()
    together = collect(frames)
    for one in EIGHT:
        codes, logits = alone(decoder, one)
        np.testing.assert_array_equal(together[one.request_id], codes)
        assert torch.equal(recorder.of(one.request_id), logits)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_request_resumed_from_its_codes_goes_on_with_the_same_logits(decoder: Decoder, data: st.DataObject) -> None:
    one = data.draw(st.sampled_from(EIGHT))
    codes, logits = alone(decoder, one)
    stop = data.draw(st.integers(1, one.num_frames - 1), label="stopped at frame")
    resumed = CodeRequest("again", one.text_states, one.num_frames, one.seed, one.sampling, codes[:, :stop])
    neighbours = data.draw(st.lists(st.sampled_from([r for r in EIGHT if r is not one]), max_size=3, unique_by=id))
    recorder = Recorder()
    engine = Engine(decoder, num_slots=4, max_frames=64, on_logits=recorder)
    made = run(engine, *neighbours, resumed)["again"]
    np.testing.assert_array_equal(made, codes[:, stop:])
    assert torch.equal(recorder.of("again"), logits[stop:])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_first_frames_are_the_same_for_every_longer_length(decoder: Decoder, data: st.DataObject) -> None:
    sampling = data.draw(st.sampled_from(SAMPLINGS))
    seed = data.draw(st.integers(0, 2**64 - 1))
    short, long = sorted(data.draw(st.lists(st.integers(1, 40), min_size=2, max_size=2, unique=True)))
    engine = Engine(decoder, num_slots=2, max_frames=64)
    made = run(
        engine,
        request("short", num_frames=short, seed=seed, sampling=sampling),
        request("long", num_frames=long, seed=seed, sampling=sampling),
    )
    np.testing.assert_array_equal(made["long"][:, :short], made["short"])


def test_another_seed_makes_other_codes(decoder: Decoder) -> None:
    engine = Engine(decoder, num_slots=3, max_frames=64)
    made = run(engine, request("a", seed=1), request("b", seed=1), request("c", seed=2**63 + 1))
    np.testing.assert_array_equal(made["a"], made["b"])
    assert not np.array_equal(made["a"], made["c"])


def test_a_foreign_prompt_is_continued_not_repeated(decoder: Decoder) -> None:
    prompt = np.random.default_rng(1).integers(0, decoder.config.vocab_size, (4, 9)).astype(np.int16)
    engine = Engine(decoder, num_slots=2, max_frames=64)
    made = run(engine, request("with", prompt_codes=prompt), request("without"))
    assert made["with"].shape == (4, 11)
    assert not np.array_equal(made["with"], made["without"][:, 9:])
