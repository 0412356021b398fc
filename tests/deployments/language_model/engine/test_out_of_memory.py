"""Memory that runs out when a generation gets its slot costs that generation, and nothing and nobody else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from deployments.language_model.decoder import Decoder, ran_out_of_memory
from deployments.language_model.engine.engine import Engine
from deployments.language_model.errors import OutOfMemory
from deployments.language_model.gpu.stepper import GpuStepper
from deployments.language_model.model import MusicgenDecoder
from deployments.messages import Sampling
from tests.deployments.language_model.random_decoder import collect, gpu_decoder, random_decoder, request, run

POISON = 9  # words


def of_a_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB.")


def of_torch() -> None:
    torch.empty(10**15)


def of_numpy() -> None:
    np.empty(10**15)


def fail_for_poison(monkeypatch: pytest.MonkeyPatch, fail: Callable[[], None]) -> None:
    """At the last moment of an admission, where keys and values of the text are computed."""
    read_text, read_text_of_gpu = MusicgenDecoder.read_text, GpuStepper._read_text

    def stingy(self: MusicgenDecoder, cache: object, slot: int, text_states: np.ndarray) -> None:
        if len(text_states) == POISON:
            fail()
        read_text(self, cache, slot, text_states)  # type: ignore[arg-type]

    def stingy_gpu(self: GpuStepper, slot: int, text_states: np.ndarray, pages: np.ndarray) -> None:
        if len(text_states) == POISON:
            fail()
        read_text_of_gpu(self, slot, text_states, pages)

    monkeypatch.setattr(MusicgenDecoder, "read_text", stingy)
    monkeypatch.setattr(GpuStepper, "_read_text", stingy_gpu)


@pytest.fixture(params=["every token handed over", "tokens stay on the device"])
def either(request: pytest.FixtureRequest) -> Decoder:
    return random_decoder("float32") if request.param.startswith("every") else gpu_decoder("float32")


@pytest.mark.parametrize("fail", [of_a_gpu, of_torch, of_numpy])
def test_the_others_go_on_bit_for_bit_and_nothing_is_lost(
    either: Decoder, monkeypatch: pytest.MonkeyPatch, fail: Callable[[], None]
) -> None:
    first, second = request("first", seed=1), request("second", seed=2, sampling=Sampling(guidance_scale=1.0))
    poison = request("poison", num_tokens=POISON)
    engine = Engine(either, num_slots=2, max_frames=64)
    expected = run(engine, first, second, poison)
    used_bytes = engine.scheduler._used_bytes

    fail_for_poison(monkeypatch, fail)
    engine.add(first)
    made = [frames for _ in range(7) for frames in engine.step()]
    for _ in range(5):
        engine.add(poison)
        ((name, error),) = engine.admit()
        assert name == "poison"
        assert isinstance(error, OutOfMemory)
        assert "\n" not in str(error)
        engine.check_integrity()
        assert engine.scheduler.num_free == 1
        made += engine.step()
    engine.add(poison)
    engine.add(second)  # has the same slot at once
    assert [(name, error is None) for name, error in engine.admit()] == [("poison", False), ("second", True)]
    while not engine.idle:
        made += engine.step()
        engine.check_integrity()
    codes = collect(made)
    assert codes.keys() == {"first", "second"}
    for name in codes:
        np.testing.assert_array_equal(codes[name], expected[name])
    assert engine.scheduler._used_bytes == used_bytes == 0

    monkeypatch.undo()
    np.testing.assert_array_equal(run(engine, poison)["poison"], expected["poison"])


def test_a_bare_step_raises_it_and_the_next_goes_on(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(decoder, num_slots=2, max_frames=64)
    expected = run(engine, request("good"))
    fail_for_poison(monkeypatch, of_a_gpu)
    engine.add(request("good"))
    engine.add(request("poison", num_tokens=POISON))
    with pytest.raises(OutOfMemory, match=r"takes \d+ bytes while it runs: CUDA out of memory\. Tried"):
        engine.step()
    np.testing.assert_array_equal(run(engine)["good"], expected["good"])


def test_another_fault_of_an_admission_is_not_taken_for_it(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    fail_for_poison(monkeypatch, fail)
    engine = Engine(decoder, num_slots=2, max_frames=64)
    engine.add(request("poison", num_tokens=POISON))
    with pytest.raises(RuntimeError, match="illegal memory access"):
        engine.step()
    assert not ran_out_of_memory(ValueError("no"))
