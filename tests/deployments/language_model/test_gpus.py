"""A GPU's memory is shared by the fraction, and what isn't there is said."""

from __future__ import annotations

import pytest
import torch

from deployments.language_model.gpu.decoder import layer_devices, limit_memory, memory_share, require_gpus
from deployments.language_model.placement import (
    Offloaded,
    OnCpu,
    OnGpu,
    OnGpus,
    PlacementError,
    computes_on_cpu,
)


def test_a_share_of_the_memory_is_the_fraction_unless_bytes_are_said() -> None:
    assert memory_share(0.25, None, 80 * 10**9) == 0.25
    assert memory_share(0.25, 20 * 10**9, 80 * 10**9) == 0.25
    assert memory_share(1.0, 6 * 10**9, 24 * 10**9) == 0.25
    with pytest.raises(PlacementError, match=r"may take 24\.00 GB of a GPU's memory, and it has 16\.00 GB"):
        memory_share(1.0, 24 * 10**9, 16 * 10**9)


@pytest.mark.parametrize(("num_layers", "count"), [(48, 2), (24, 3), (7, 4), (2, 2)])
def test_layers_go_to_gpus_in_runs_that_differ_by_one_at_most(num_layers: int, count: int) -> None:
    devices = layer_devices(num_layers, count)
    assert devices == sorted(devices)
    lengths = [devices.count(f"cuda:{i}") for i in range(count)]
    assert sum(lengths) == num_layers
    assert max(lengths) - min(lengths) <= 1


def test_a_machine_without_gpus_says_so() -> None:
    missing = torch.cuda.device_count() + 1
    with pytest.raises(PlacementError, match=r"^the placement asks for .*, and this process sees \w+$"):
        require_gpus(missing)


@pytest.mark.gpu
def test_torch_refuses_more_than_the_share() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    try:
        limit_memory(1.0, 10**9)
        torch.empty(5 * 10**8, dtype=torch.uint8, device="cuda:0")
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(2 * 10**9, dtype=torch.uint8, device="cuda:0")
    finally:
        limit_memory(1.0, None)


def test_only_what_has_no_gpu_computes_on_the_cpu() -> None:
    assert computes_on_cpu(OnCpu())
    assert computes_on_cpu(Offloaded(cpu_bytes=1))
    assert not any(computes_on_cpu(each) for each in (OnGpu(0.5), OnGpus(2), Offloaded(cpu_bytes=1, gpu_bytes=1)))


def test_a_placement_reads_as_words() -> None:
    assert [str(each) for each in (OnCpu(), OnGpu(), OnGpu(0.25, 20 * 10**9), OnGpus(2))] == [
        "on the CPU",
        "on a GPU",
        "on 0.25 of a GPU, 20.00 GB of it at most",
        "on 2 GPUs, a run of layers on each",
    ]
    assert str(Offloaded(cpu_bytes=1)) == "offloaded, computed on the CPU"
    assert str(Offloaded(cpu_bytes=1, gpu_bytes=1)) == "offloaded, computed on a GPU"
