"""The GPU's engine on a CPU: the same steps, pages and program, with the operations in plain torch."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.language_model.decoder import DeviceDecoder, HostDecoder
from deployments.language_model.engine.engine import Engine
from deployments.language_model.errors import EngineFull
from deployments.language_model.gpu.decoder import GpuDecoder
from deployments.language_model.gpu.program import buckets
from deployments.language_model.gpu.state import PAGE, pages_of
from deployments.language_model.model import MusicgenDecoder
from deployments.language_model.weights import fuse
from deployments.messages import CodeRequest, Sampling
from loadtests.measuring.shapes import SHAPES, random_tensors
from tests.deployments.language_model.engine.test_engine import random_request
from tests.deployments.language_model.engine.test_exactness import EIGHT, SAMPLINGS, Recorder, alone
from tests.deployments.language_model.random_decoder import CONFIG, collect, gpu_decoder, random_decoder, request, run


def test_it_is_a_device_decoder_and_no_host_decoder(decoder: GpuDecoder) -> None:
    assert isinstance(decoder, DeviceDecoder)
    assert not isinstance(decoder, HostDecoder)
    assert isinstance(random_decoder("float32"), HostDecoder)


def test_codes_are_those_of_the_plain_decoder_and_logits_nearly(decoder: GpuDecoder) -> None:
    plain = random_decoder("float32")
    for one in EIGHT:
        codes, logits = alone(decoder, one)
        expected_codes, expected_logits = alone(plain, one)
        np.testing.assert_array_equal(codes, expected_codes)
        torch.testing.assert_close(logits, expected_logits, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_eight_requests_sharing_steps_each_get_what_they_get_alone(dtype: str) -> None:
    decoder, recorder = gpu_decoder(dtype), Recorder()
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


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_request_resumed_from_its_codes_goes_on_with_the_same_logits(
    decoder: GpuDecoder, data: st.DataObject
) -> None:
    one = data.draw(st.sampled_from(EIGHT))
    codes, logits = alone(decoder, one)
    stop = data.draw(st.integers(1, one.num_frames - 1), label="stopped at frame")
    resumed = CodeRequest("again", one.text_states, one.num_frames, one.seed, one.sampling, codes[:, :stop])
    neighbours = data.draw(st.lists(st.sampled_from([r for r in EIGHT if r is not one]), max_size=3, unique_by=id))
    recorder = Recorder()
    engine = Engine(decoder, num_slots=4, max_frames=64, on_logits=recorder)
    np.testing.assert_array_equal(run(engine, *neighbours, resumed)["again"], codes[:, stop:])
    assert torch.equal(recorder.of("again"), logits[stop:])


@pytest.mark.slow
def test_eight_bits_are_within_0_02_nats_of_float32_and_agree_on_the_likeliest_token() -> None:
    """Teacher-forced, on random weights of the embedded model's shape: by the bounds that hold for the CPU's 8 bits."""
    num_frames = 60
    config = SHAPES["tiny"].config
    weights = fuse(random_tensors(config), config, "float32", "cpu")
    full = MusicgenDecoder(config, weights, num_frames + max(config.delays))
    eight_bit = GpuDecoder(config, weights, "int8", num_frames + max(config.delays))
    states = np.random.default_rng(0).standard_normal((9, config.text_width)).astype(np.float32)
    long = replace(request("long", num_frames=num_frames, sampling=Sampling(guidance_scale=1.0)), text_states=states)
    codes, _ = alone(full, long)
    forced = []
    for decoder in (full, eight_bit):
        resumed = [replace(long, num_frames=stop + 1, prompt_codes=codes[:, :stop]) for stop in range(1, num_frames)]
        forced.append(torch.stack([alone(decoder, one)[1][0] for one in resumed]).log_softmax(-1))
    expected, ours = forced
    assert (expected.exp() * (expected - ours)).sum(-1).mean() < 0.02
    assert (expected.argmax(-1) == ours.argmax(-1)).float().mean() > 0.95


def test_a_text_of_several_pages_is_read_whole(decoder: GpuDecoder) -> None:
    long_text = request("long text", num_frames=3, num_tokens=2 * PAGE + 5)
    np.testing.assert_array_equal(alone(decoder, long_text)[0], alone(random_decoder("float32"), long_text)[0])


def test_a_step_is_launched_before_the_tokens_of_the_last_are_read(decoder: GpuDecoder) -> None:
    engine = Engine(decoder, num_slots=1, max_frames=64)
    engine.add(request("one", num_frames=2))
    made = [engine.step() for _ in range(6)]
    # Two frames take five steps; the frames of each arrive with the step after it, and the last by themselves.
    assert [len(frames) for frames in made] == [0, 0, 0, 0, 1, 1]
    assert made[-1][0].finished
    assert engine.idle


def test_an_abort_with_a_step_under_way_frees_slot_and_pages_at_once_and_the_next_is_exact(
    decoder: GpuDecoder,
) -> None:
    engine = Engine(decoder, num_slots=1, max_frames=64)
    engine.add(request("left", num_frames=40, seed=5))
    for _ in range(9):
        engine.step()
    engine.abort("left")
    engine.check_integrity()
    assert engine.idle
    made = run(engine, EIGHT[0])
    assert made.keys() == {EIGHT[0].request_id}
    np.testing.assert_array_equal(made[EIGHT[0].request_id], alone(decoder, EIGHT[0])[0])


def test_random_operations_lose_no_slot_and_no_page(decoder: GpuDecoder) -> None:
    rng = random.Random(1)
    memory_bytes = 9 * decoder.page_bytes + decoder.page_bytes  # three generations with guidance, of four slots
    engine = Engine(decoder, num_slots=4, max_waiting=6, max_frames=24, memory_bytes=memory_bytes)
    known: list[str] = []
    refused = finished = 0
    for i in range(800):
        action = rng.random()
        if action < 0.3:
            try:
                engine.add(random_request(f"r{i}", rng))
            except EngineFull:
                refused += 1
            else:
                known.append(f"r{i}")
        elif action < 0.35 and known:
            engine.abort(rng.choice(known))
        else:
            finished += sum(frames.finished for frames in engine.step())
        engine.check_integrity()
    assert refused > 10
    assert finished > 10
    for name in known:
        engine.abort(name)
    engine.check_integrity()
    assert engine.idle


def test_a_generation_takes_the_pages_of_its_own_length(decoder: GpuDecoder) -> None:
    assert decoder.bytes_of(10, 1, 5) == 2 * decoder.page_bytes
    assert decoder.bytes_of(PAGE + 1, 2, 5) == 5 * decoder.page_bytes
    kept = 2 * CONFIG.num_layers * CONFIG.width * PAGE * 4  # keys and values, float32
    assert decoder.page_bytes == kept


def test_memory_for_less_than_a_page_is_refused(decoder: GpuDecoder) -> None:
    with pytest.raises(ValueError, match="give the model more memory"):
        Engine(decoder, num_slots=1, max_frames=64, memory_bytes=decoder.page_bytes)


def test_without_a_limit_every_slot_has_pages_for_the_longest_generation(decoder: GpuDecoder) -> None:
    engine = Engine(decoder, num_slots=3, max_frames=64)
    assert engine.scheduler.memory_bytes is not None
    assert engine.scheduler.memory_bytes >= 3 * pages_of(64 + 3, 2, 64) * decoder.page_bytes


def test_buckets_double_up_to_the_most() -> None:
    assert buckets(1) == [1]
    assert buckets(6) == [1, 2, 4, 8]
    assert buckets(1503, 128) == [128, 256, 512, 1024, 2048]


def test_all_samplings_share_a_step(decoder: GpuDecoder) -> None:
    requests = [request(f"s{i}", num_frames=4, seed=i, sampling=each) for i, each in enumerate(SAMPLINGS)]
    made = run(Engine(decoder, num_slots=8, max_frames=64), *requests)
    for one in requests:
        np.testing.assert_array_equal(made[one.request_id], alone(decoder, one)[0])
