"""Who gets in: slots and memory, first come first served."""

from __future__ import annotations

import pytest

from deployments.language_model.decoder import Decoder
from deployments.language_model.engine import Engine
from deployments.language_model.scheduler import EngineFull
from deployments.language_model.warm_up import warm_up
from deployments.messages import Sampling
from tests.deployments.language_model.random_decoder import request, run


def size_of(decoder: Decoder, num_frames: int, num_tokens: int = 5, branches: int = 2) -> int:
    return decoder.bytes_of(num_frames + 3, branches, num_tokens)


def test_a_request_that_does_not_fit_waits_and_nobody_overtakes_it(decoder: Decoder) -> None:
    memory_bytes = size_of(decoder, 20) + size_of(decoder, 5)
    engine = Engine(decoder, num_slots=3, max_frames=64, memory_bytes=memory_bytes)
    engine.add(request("first", num_frames=20))
    engine.add(request("large", num_frames=20))
    engine.add(request("small", num_frames=5))
    engine.step()
    engine.check_integrity()
    assert {generation.request_id for generation in engine.scheduler.running.values()} == {"first"}
    while "first" in engine.scheduler:
        assert engine.scheduler.num_waiting == 2
        engine.step()
    engine.step()
    assert engine.scheduler.num_waiting == 0
    assert run(engine)["small"].shape[1] > 0


def test_an_abort_gives_its_memory_to_who_waits(decoder: Decoder) -> None:
    engine = Engine(decoder, num_slots=2, max_frames=64, memory_bytes=size_of(decoder, 20))
    engine.add(request("running", num_frames=20))
    engine.step()
    engine.add(request("waiting", num_frames=20))
    engine.step()
    engine.abort("running")
    engine.step()
    engine.check_integrity()
    assert {generation.request_id for generation in engine.scheduler.running.values()} == {"waiting"}


def test_a_request_that_can_never_fit_is_refused_with_the_frames_that_would(decoder: Decoder) -> None:
    engine = Engine(decoder, num_slots=2, max_frames=64, memory_bytes=size_of(decoder, 30))
    with pytest.raises(ValueError, match=rf"31 frames of this prompt need {size_of(decoder, 31)} bytes.*: 30 frames"):
        engine.add(request("too long", num_frames=31))
    without_guidance = Sampling(guidance_scale=1.0)
    engine.add(request("half the rows", num_frames=60, sampling=without_guidance))
    with pytest.raises(ValueError, match=r": 0 frames would fit"):
        engine.add(request("too many words", num_tokens=200, num_frames=31))
    engine.check_integrity()


def test_who_waits_for_memory_counts_as_waiting_though_a_slot_is_free(decoder: Decoder) -> None:
    engine = Engine(decoder, num_slots=4, max_waiting=1, max_frames=64, memory_bytes=size_of(decoder, 20))
    engine.add(request("running", num_frames=20))
    engine.add(request("waiting", num_frames=20))
    with pytest.raises(EngineFull, match="no more than 1 may wait"):
        engine.add(request("one too many", num_frames=20))


def test_warming_up_needs_memory_for_one_request_only(decoder: Decoder) -> None:
    memory_bytes = size_of(decoder, 4, num_tokens=8)
    engine = Engine(decoder, num_slots=4, max_waiting=0, max_frames=64, memory_bytes=memory_bytes)
    warm_up(engine)
    engine.check_integrity()
    assert engine.idle
