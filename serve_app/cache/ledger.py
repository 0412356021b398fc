"""Writers of one folder take turns, and hand each other two numbers: the bytes taken and the last time of use."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from serve_app.cache.store import StoreTimeout

_NUMBERS = struct.Struct(">QQ")
_POLL_S = 0.005


@dataclass
class Turn:
    """One writer's turn. taken_bytes: None where nobody has counted yet."""

    taken_bytes: int | None
    last_use_ns: int
    descriptor: int

    def save(self) -> None:
        """Leaves both numbers to the next writer. Raises: OSError."""
        os.pwrite(self.descriptor, _NUMBERS.pack(self.taken_bytes or 0, self.last_use_ns), 0)


@dataclass(frozen=True)
class Ledger:
    """The file at `path`, made when first needed. timeout_s: how long to wait for a turn."""

    path: Path
    timeout_s: float

    @contextlib.contextmanager
    def turn(self) -> Iterator[Turn]:
        """One writer at a time, of all threads and processes; the kernel ends the turn of one that dies.

        Raises: StoreTimeout where another keeps it, stopped perhaps; OSError.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._wait_for_it(descriptor)
            numbers = os.pread(descriptor, _NUMBERS.size, 0)
            if len(numbers) == _NUMBERS.size:
                taken_bytes, last_use_ns = _NUMBERS.unpack(numbers)
                yield Turn(taken_bytes, last_use_ns, descriptor)
            else:
                yield Turn(None, 0, descriptor)
        finally:
            os.close(descriptor)

    def _wait_for_it(self, descriptor: int) -> None:
        until = time.monotonic() + self.timeout_s
        while True:
            try:
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise StoreTimeout(f"another writer has held {self.path} for {self.timeout_s:g} s") from None
                time.sleep(_POLL_S)
