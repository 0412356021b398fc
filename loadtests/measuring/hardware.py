"""What a figure was measured on: hardware, versions, commit, and the memory's own speed as the floor."""

from __future__ import annotations

import platform
import subprocess
import time
from pathlib import Path

import torch

PROBE_BYTES = 2**29
PROBE_RUNS = 8


def describe(device: str) -> str:
    """One line for the head of a report."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else _cpu_name()
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}"


def commit() -> str:
    """The short hash, with "+" when the tree differs from it; "unknown" outside a checkout."""
    root = Path(__file__).parent.parent
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    found = subprocess.run(command, cwd=root, capture_output=True, text=True)  # noqa: S603 - a constant
    return found.stdout.strip() or "unknown"


def read_bandwidth(device: str) -> float:
    """Bytes a second of reading memory far larger than the caches, with torch's threads: the best of a few runs."""
    block = torch.ones(PROBE_BYTES // 4, device=device)
    best = 0.0
    for _ in range(PROBE_RUNS):
        started = now(device)
        block.sum()
        best = max(best, PROBE_BYTES / (now(device) - started))
    return best


def now(device: str) -> float:
    """Seconds, after the device has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"
