"""Which decoder a setting means, on this machine, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.checkpoints.config import CheckpointError
from deployments.language_model import loading
from deployments.language_model.cpu.decoder import Int8Decoder
from deployments.language_model.decoder import Decoder
from deployments.language_model.gpu.decoder import GpuDecoder
from deployments.language_model.loading import describe, load_decoder
from deployments.language_model.model import MusicgenDecoder
from deployments.language_model.placement import Offloaded, OnCpu, OnGpu, OnGpus, Placement, PlacementError
from tests.tiny import tiny_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    return Checkpoint.open(tiny_checkpoint(folder, width=128, heads=2, ffn=256, vocab=64, codec_width=8))


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def load(checkpoint: Checkpoint, dtype: str, placement: Placement, num_threads: int = 1) -> Decoder:
    return load_decoder(checkpoint, dtype, placement, max_frames=10, num_slots=1, num_threads=num_threads)


def test_auto_is_8_bits_on_a_cpu_and_torch_has_one_thread_beside_them(checkpoint: Checkpoint) -> None:
    torch.set_num_threads(2)
    with closing(load(checkpoint, "auto", OnCpu(), num_threads=2)) as decoder:
        assert isinstance(decoder, Int8Decoder)
        assert torch.get_num_threads() == 1
        said = describe(decoder, OnCpu(), 2)
    assert said.startswith("on the CPU with 2 threads; int8 ")
    assert said.endswith("; a step reads 0.4 MB of weights")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_torch_computes_the_other_types_with_the_threads_it_is_given(dtype: str, checkpoint: Checkpoint) -> None:
    torch.set_num_threads(2)
    decoder = load(checkpoint, dtype, OnCpu(), num_threads=1)
    assert isinstance(decoder, MusicgenDecoder)
    assert torch.get_num_threads() == 1
    assert describe(decoder, OnCpu(), 1).startswith(f"on the CPU with 1 thread; {dtype} ")


def test_where_everything_fits_offloading_needs_no_folder(checkpoint: Checkpoint) -> None:
    with closing(load(checkpoint, "auto", Offloaded(cpu_bytes=10**9))) as decoder:
        said = describe(decoder, Offloaded(cpu_bytes=10**9), 1)
    assert said.startswith("offloaded, computed on the CPU with 1 thread, weights: 1.0 MB on cpu; bfloat16 ")


@pytest.mark.parametrize(
    ("placement", "said"),
    [
        (Offloaded(cpu_bytes=10**9), "8-bit weights are not run offloaded, computed on the CPU; set dtype: bfloat16"),
        (OnGpus(2), "8-bit weights are not run on 2 GPUs, a run of layers on each; set dtype: bfloat16"),
    ],
)
def test_8_bits_are_refused_where_they_are_not_run(placement: Placement, said: str, checkpoint: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match=f"^{said}$"):
        load(checkpoint, "int8", placement)


@pytest.mark.parametrize("placement", [OnGpu(), OnGpus(64), Offloaded(cpu_bytes=10**9, gpu_bytes=10**9)])
def test_a_machine_without_the_gpus_asked_for_says_so(placement: Placement, checkpoint: Checkpoint) -> None:
    if not isinstance(placement, OnGpus) and torch.cuda.is_available():
        placement = OnGpus(64)
    with pytest.raises(PlacementError, match=r"^the placement asks for .*, and this process sees \w+$"):
        load(checkpoint, "bfloat16", placement)


def test_layers_on_several_devices_are_the_same_decoder(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "require_gpus", lambda count: None)
    monkeypatch.setattr(loading, "layer_devices", lambda num_layers, count: ["cpu"] * num_layers)
    spread, whole = load(checkpoint, "float32", OnGpus(2)), load(checkpoint, "float32", OnCpu())
    assert isinstance(spread, MusicgenDecoder)
    assert isinstance(whole, MusicgenDecoder)
    expected = whole.weights.state_dict()
    assert spread.weights.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in spread.weights.state_dict().items())


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["auto", "int8", "float32"])
def test_a_gpu_gets_the_decoder_compiled_for_it(dtype: str, checkpoint: Checkpoint) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    decoder = load(checkpoint, dtype, OnGpu(fraction=0.5))
    assert isinstance(decoder, GpuDecoder)
    assert describe(decoder, OnGpu(fraction=0.5), 1).startswith("on 0.5 of a GPU; ")


def test_a_checkpoint_that_does_not_fit_its_config_is_named_before_anything_is_read(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "checkpoint", vocab=64, codec_width=8)
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    with pytest.raises(CheckpointError, match=r"missing: decoder\.model\.decoder\.layers\.2\."):
        load(Checkpoint.open(folder), "float32", OnCpu())
