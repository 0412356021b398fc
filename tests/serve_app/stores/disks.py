"""Small disks, full disks, and disks that can only be read."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

SMALL_BYTES = 256 * 1024


def mounted(folder: Path, size_bytes: int = SMALL_BYTES) -> bool:
    """Mounts a disk of this size at `folder`, in memory. Whether this user may."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    return os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0


def unmount(folder: Path) -> None:
    # Whoever has a file open there may keep it.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def filled(*folders: Path) -> Iterator[None]:
    """The disks of these folders have no room for another byte."""
    fillers = [folder / "filler" for folder in folders]
    for filler in fillers:
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    try:
        yield
    finally:
        for filler in fillers:
            filler.unlink()


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A disk of SMALL_BYTES at `folder`; where this user may not mount one, files of at most that size."""
    if mounted(folder):
        try:
            yield
        finally:
            unmount(folder)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
