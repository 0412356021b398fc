"""Threads: a node's cores, as far as they may be used, among the language models it can hold."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.language_model.placement import CpuShare, num_cores


@pytest.mark.parametrize(
    ("share", "cores", "node_cpus", "threads"),
    [
        (CpuShare(), 16, math.inf, 16),
        (CpuShare(0.5), 16, math.inf, 8),
        (CpuShare(0.7), 10, math.inf, 7),  # 0.7 * 10 is a little less than 7 in binary
        (CpuShare(0.57), 100, math.inf, 57),
        (CpuShare(1.0, 0.3, (0.3,)), 16, 16, 8),
        (CpuShare(1.0, 0.3, (0.3, 0.3)), 2, 2, 1),
        (CpuShare(0.1), 2, math.inf, 1),
        # Nodes of 16 CPUs: two replicas of 12 never meet on one, and of those of 8 two do.
        (CpuShare(1.0, 12, (12, 12, 12)), 16, 16, 16),
        (CpuShare(1.0, 8, (8, 8, 8)), 16, 16, 8),
        # The large one leaves room for two of the small, and it is not known where they are.
        (CpuShare(1.0, 12, (2, 2, 2, 12)), 15, 16, 5),
        (CpuShare(1.0, 0.1, (0.1,) * 9), 20, 1, 2),
    ],
)
def test_threads_of_a_replica(share: CpuShare, cores: int, node_cpus: float, threads: int) -> None:
    assert share.num_threads(cores, node_cpus) == threads


@given(
    replicas=st.lists(st.floats(0.1, 8), min_size=1, max_size=12),
    target=st.floats(0.01, 1),
    cores=st.integers(1, 128),
    node_cpus=st.floats(8, 32),
)
def test_whoever_meets_on_a_node_never_exceeds_its_cores(
    replicas: list[float], target: float, cores: int, node_cpus: float
) -> None:
    placed: list[float] = []
    threads = []
    for i, own in enumerate(replicas):
        if sum(placed) + own <= node_cpus:
            placed.append(own)
            others = tuple(replicas[:i] + replicas[i + 1 :])
            threads.append(CpuShare(target, own, others).num_threads(cores, node_cpus))
    assert sum(threads) <= max(len(placed), target * cores + 1e-6)


@pytest.mark.parametrize(("quota", "at_most"), [("max 100000", 10**6), ("100000 100000", 1), ("50000 100000", 1)])
def test_a_containers_quota_limits_the_cores(quota: str, at_most: int, tmp_path: Path) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(f"{quota}\n")
    assert 1 <= num_cores(file) <= at_most
    assert num_cores(file) <= num_cores(tmp_path / "absent")
