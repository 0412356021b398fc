"""What memory this process holds and has held at most, as Linux counts it: pages of mapped files with the others."""

from __future__ import annotations

from pathlib import Path

_STATUS = Path("/proc/self/status")


def resident_bytes() -> int:
    """Now."""
    return _field_bytes("VmRSS")


def peak_bytes() -> int:
    """At most, since the last `forget_peak` or the process's start."""
    return _field_bytes("VmHWM")


def forget_peak() -> None:
    """The peak is what is held now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _field_bytes(name: str) -> int:
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    (value,) = (line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return int(value) * 1024
