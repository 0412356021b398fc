"""Offloaded weights: nearer or farther, on a plan that keeps to its memory, and always the same codes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.language_model.config import DecoderConfig
from deployments.language_model.decoder import Decoder
from deployments.language_model.engine.engine import Engine
from deployments.language_model.gpu.decoder import limit_memory
from deployments.language_model.loading import describe, load_decoder
from deployments.language_model.model import MusicgenDecoder
from deployments.language_model.offload import DISK, SAFETY, OffloadedDecoder, plan_offload, reserved_bytes
from deployments.language_model.placement import Offloaded, OnCpu, PlacementError
from deployments.language_model.weights import DecoderWeights, weight_source
from deployments.messages import CodeRequest, Sampling
from loadtests.measuring.shapes import SHAPES
from tests.deployments.language_model.random_decoder import run
from tests.tiny import tiny_checkpoint

NUM_SLOTS, MAX_FRAMES = 3, 16
GB = 10**9


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """13 MB of float32 weights, the proportions of large."""
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    return Checkpoint.open(
        tiny_checkpoint(folder, layers=6, width=192, heads=3, ffn=768, vocab=64, text_width=96, codec_width=8)
    )


def empty_weights(config: DecoderConfig, dtype: str) -> DecoderWeights:
    with torch.device("meta"):
        return DecoderWeights(config, dtype)


def size_of(weights: DecoderWeights) -> int:
    return sum(tensor.nbytes for tensor in weights.state_dict().values())


def a_third_of(checkpoint: Checkpoint, dtype: str, folder: Path) -> Offloaded:
    """Memory for a third of the weights, and for what isn't weights."""
    config = DecoderConfig.from_transformers(checkpoint.config)
    reserved = reserved_bytes(config, MAX_FRAMES + max(config.delays), NUM_SLOTS)
    return Offloaded(cpu_bytes=size_of(empty_weights(config, dtype)) // 3 + reserved, folder=folder)


def loaded(checkpoint: Checkpoint, dtype: str, placement: Offloaded | OnCpu) -> Decoder:
    return load_decoder(checkpoint, dtype, placement, max_frames=MAX_FRAMES, num_slots=NUM_SLOTS, num_threads=1)


def codes(decoder: Decoder) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    states = [rng.standard_normal((3 + i, decoder.config.text_width)).astype(np.float32) for i in range(4)]
    samplings = [Sampling(), Sampling(guidance_scale=1.0), Sampling(temperature=0.0), Sampling(top_p=0.9)]
    requests = [CodeRequest(str(i), states[i], 6 + 3 * i, i, samplings[i]) for i in range(4)]
    return run(Engine(decoder, num_slots=NUM_SLOTS, max_frames=MAX_FRAMES), *requests)


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_with_memory_for_a_third_of_the_weights_the_codes_are_the_same(
    dtype: str, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    expected = codes(loaded(checkpoint, dtype, OnCpu()))
    for _ in range(2):  # written, and found there
        with closing(loaded(checkpoint, dtype, a_third_of(checkpoint, dtype, tmp_path))) as decoder:
            assert isinstance(decoder, OffloadedDecoder)
            assert decoder.plan.bytes_on("cpu") < sum(decoder.plan.sizes.values()) / 3 < decoder.plan.bytes_on(DISK)
            made = codes(decoder)
        assert made.keys() == expected.keys()
        for name, frames in expected.items():
            np.testing.assert_array_equal(made[name], frames)


@pytest.mark.usefixtures("one_thread")
def test_weights_are_in_memory_only_while_they_are_used(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with closing(loaded(checkpoint, "bfloat16", a_third_of(checkpoint, "bfloat16", tmp_path))) as decoder:
        assert isinstance(decoder, OffloadedDecoder)
        codes(decoder)
        held = {name for name, tensor in decoder.weights.state_dict().items() if not tensor.is_meta}
        assert held == {name for name, place in decoder.plan.places.items() if place == "cpu"}


@pytest.mark.usefixtures("one_thread")
def test_it_says_where_its_weights_are(checkpoint: Checkpoint, tmp_path: Path) -> None:
    placement = a_third_of(checkpoint, "bfloat16", tmp_path)
    with closing(loaded(checkpoint, "auto", placement)) as decoder:
        said = describe(decoder, placement, 2)
    assert said.startswith("offloaded, computed on the CPU with 2 threads, weights: 2.0 MB on cpu, 5.5 MB on disk (")
    assert str(tmp_path) in said
    assert "; bfloat16 " in said


def test_what_a_step_does_not_read_goes_farthest() -> None:
    weights = empty_weights(SHAPES["large"].config, "bfloat16")
    plan = plan_offload(weights, Offloaded(65 * GB // 10, folder=Path("/somewhere")), 0)
    assert 0 < plan.bytes_on(DISK) < GB
    assert all(
        name.split(".")[-2] in ("cross_kv", "text_projection") for name, place in plan.places.items() if place == DISK
    )


@pytest.mark.parametrize("memory_gb", [0.5, 1, 2.2, 4, 6])
def test_a_plan_keeps_to_its_memory_with_room_for_what_comes(memory_gb: float) -> None:
    weights = empty_weights(SHAPES["large"].config, "bfloat16")
    memory, reserved = int(memory_gb * GB), 10**8
    plan = plan_offload(weights, Offloaded(memory, folder=Path("/somewhere")), reserved)
    largest = max(size for name, size in plan.sizes.items() if plan.places[name] == DISK)
    left = SAFETY * (memory - reserved)
    assert plan.bytes_on("cpu") + largest <= left
    assert plan.bytes_on("cpu") > left - 3 * largest
    assert plan.bytes_on("cpu") + plan.bytes_on(DISK) == size_of(weights)
    assert plan.places["embed.weight"] == "cpu"


def test_a_gpu_is_filled_first_then_memory_then_the_disk() -> None:
    weights = empty_weights(SHAPES["large"].config, "bfloat16")
    plan = plan_offload(weights, Offloaded(2 * GB, gpu_bytes=3 * GB, folder=Path("/somewhere")), GB)
    assert plan.device == "cuda:0"
    assert plan.places["embed.weight"] == "cuda:0"
    order = [plan.places[f"layers.{i}.ffn_in.weight"] for i in range(48)]
    assert order == sorted(order, key=["cuda:0", "cpu", DISK].index)
    assert 1.7 * GB < plan.bytes_on("cuda:0") < 2 * GB
    assert 1.8 * GB < plan.bytes_on("cpu") < 2 * GB
    assert str(plan).startswith("1.")
    assert [part.split(" on ")[1] for part in str(plan).split(", ")] == ["cuda:0", "cpu", "disk"]


def test_all_of_it_stays_where_there_is_room() -> None:
    weights = empty_weights(SHAPES["tiny"].config, "bfloat16")
    plan = plan_offload(weights, Offloaded(GB), 0)
    assert set(plan.places.values()) == {"cpu"}


@pytest.mark.parametrize(
    ("placement", "said"),
    [
        (Offloaded(GB), r"^max_memory leaves no room for 5\.\d\d GB of 6\.\d\d GB of weights: .* name a folder"),
        (
            Offloaded(GB // 4, folder=Path("/x")),
            r"^max_memory\.cpu is 250 MB; .* take 200 MB of it, .* at least 106 MB",
        ),
        (Offloaded(8 * GB, gpu_bytes=GB // 4), r"^max_memory\.gpu is 250 MB; .* set fewer slots or a shorter max_dur"),
    ],
)
def test_too_little_memory_is_one_sentence_with_the_figures(placement: Offloaded, said: str) -> None:
    with pytest.raises(PlacementError, match=said):
        plan_offload(empty_weights(SHAPES["large"].config, "bfloat16"), placement, 2 * GB // 10)


def test_every_slots_keys_and_values_are_reserved() -> None:
    config = SHAPES["small"].config
    one, two = (reserved_bytes(config, 1503, slots) for slots in (1, 2))
    keys_and_values = 2 * 24 * 2 * 1024 * 1503 * 4
    assert keys_and_values < two - one < 1.4 * keys_and_values


@pytest.mark.gpu
def test_a_gpu_with_room_for_a_third_makes_the_codes_of_one_with_room_for_all(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    third = a_third_of(checkpoint, "bfloat16", tmp_path)
    source = weight_source(checkpoint, "bfloat16")
    whole = MusicgenDecoder(source.config, source.load("cuda:0"), MAX_FRAMES + max(source.config.delays))
    expected = codes(whole)
    for cpu_bytes in (10**9, 3 * 10**6):  # the rest in memory; some of it on disk
        placement = Offloaded(cpu_bytes, gpu_bytes=third.cpu_bytes, folder=tmp_path)
        with closing(loaded(checkpoint, "bfloat16", placement)) as decoder:
            assert isinstance(decoder, OffloadedDecoder)
            assert decoder.plan.bytes_on("cuda:0") < sum(decoder.plan.sizes.values()) / 3
            made = codes(decoder)
        for name, frames in expected.items():
            np.testing.assert_array_equal(made[name], frames)
    limit_memory(1.0, None)
