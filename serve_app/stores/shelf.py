"""Writers of one folder take turns, and hand each other two numbers: the bytes taken and the last time of use.

A folder of files that never take more than a limit; what was used longest ago goes first.

Everything is in the file system, so that processes share it and a restart loses nothing. A file's times say what there
is to know: modified = written, by the wall clock; accessed = last used. Times of use follow the clock but never go back
when it does: a clock moved by an hour changes nobody's place in the order.

Writers take turns (`ledger.py`) and keep count of the bytes. The count is a bound from above: it grows before a file
appears and does not shrink when one is replaced or deleted, so what a crash leaves behind is on the safe side. The
folder is read, and the count made exact again, when the bound reaches the limit, and now and then for files grown old.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from serve_app.stores.store import StoreDenied, StoreError, StoreFull, StoreTimeout, StoreUnreachable

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


# What a file takes of a disk: whole blocks. Else a million small ones would count as next to nothing.
_BLOCK_BYTES = 4096
# What is left when something had to go: then there is room for more files before the folder is read again.
_KEPT_PART = 0.9
# Files older than their age go at the first write after this time.
_READ_EVERY_S = 3600.0

_KINDS: dict[int | None, type[StoreError]] = {
    errno.ENOSPC: StoreFull,
    errno.EDQUOT: StoreFull,
    errno.EFBIG: StoreFull,
    errno.EACCES: StoreDenied,
    errno.EPERM: StoreDenied,
    errno.EROFS: StoreDenied,
}


@dataclass(frozen=True)
class _File:
    path: str
    taken_bytes: int
    written_s: float
    used_ns: int


class Shelf:
    """The files in `folder`, which is made when first needed.

    limit_bytes: of disk that they take together. max_age_s: older files go; None keeps them. lock_timeout_s: how long a
    writer waits for its turn. clock: seconds since 1970.
    """

    def __init__(
        self,
        folder: Path,
        limit_bytes: int,
        *,
        max_age_s: float | None = None,
        lock_timeout_s: float = 2.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._max_age_s = max_age_s
        self._clock = clock
        self._ledger = Ledger(folder / "ledger", lock_timeout_s)
        self._new = folder / "new"
        self._read_at_s: float | None = None
        self._last_use_ns = 0

    def read(self, name: str) -> bytes | None:
        """The file's bytes, None where there is none; it is now the last used. Raises: StoreError.

        name: hexadecimal digits, more than two; the caller sees to it that it is nothing else.
        """
        path = self._path(name)
        try:
            with path.open("rb") as file:
                data = file.read()
                times = os.fstat(file.fileno())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._store_error(error) from error
        self._last_use_ns = max(self._last_use_ns, times.st_atime_ns)
        # Gone in between, or on a disk that can only be read: then it keeps its place in the order, which harms nobody.
        with contextlib.suppress(OSError):
            os.utime(path, ns=(self._use_ns(), times.st_mtime_ns))
        return data

    def write(self, name: str, *parts: bytes) -> None:
        """Puts a file of these parts in place of the one before, whole or not at all.

        Nothing is flushed to the disk: that takes milliseconds, and a file that a loss of power cuts is found out by
        its checksum and made again. Raises: StoreFull where the disk is full, or the file more than the limit;
        StoreError.
        """
        size_bytes = _taken_bytes(sum(map(len, parts)))
        if size_bytes > self.limit_bytes:
            raise StoreFull(f"an entry of {size_bytes} bytes does not fit into {self.folder}: {self.limit_bytes} bytes")
        path = self._path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # In its turn a writer is alone with `new`; what is there already was left by one that died in its own.
            with self._ledger.turn() as turn, self._removed_on_error(self._new):
                with self._new.open("wb", buffering=0) as file:
                    for part in parts:
                        _write_all(file.fileno(), part)
                self._make_room(turn, size_bytes)
                os.utime(self._new, ns=(turn.last_use_ns, int(self._clock() * 1e9)))
                self._new.replace(path)
        except OSError as error:
            raise self._store_error(error) from error

    def delete(self, name: str) -> None:
        """Removes the file, if there is one. Raises: StoreError."""
        try:
            self._path(name).unlink(missing_ok=True)
        except OSError as error:
            raise self._store_error(error) from error

    def check_integrity(self) -> None:
        """Raises: AssertionError where files take more than the limit or than is counted, or are left half written."""
        with self._ledger.turn() as turn:
            taken = sum(file.taken_bytes for file in self._files())
            assert taken <= self.limit_bytes, f"{taken} bytes on a shelf for {self.limit_bytes}"
            assert turn.taken_bytes is not None, "nobody has counted"
            assert taken <= turn.taken_bytes, f"{taken} bytes, of which {turn.taken_bytes} are counted"
            assert not self._new.exists(), "a file is half written"

    def _path(self, name: str) -> Path:
        return self.folder / "kept" / name[:2] / name[2:]

    def _use_ns(self) -> int:
        """The time of a use that happens now: later than any other known."""
        self._last_use_ns = max(int(self._clock() * 1e9), self._last_use_ns + 1)
        return self._last_use_ns

    def _make_room(self, turn: Turn, wanted_bytes: int) -> None:
        """Counts the bytes, after removing what has to go for them."""
        now_s = time.monotonic()
        unread = self._read_at_s is None or now_s - self._read_at_s > _READ_EVERY_S
        if turn.taken_bytes is None or unread or turn.taken_bytes + wanted_bytes > self.limit_bytes:
            turn.taken_bytes = self._swept(wanted_bytes)
            self._read_at_s = now_s
        turn.taken_bytes += wanted_bytes
        self._last_use_ns = max(self._last_use_ns, turn.last_use_ns)
        turn.last_use_ns = self._use_ns()
        turn.save()

    def _swept(self, wanted_bytes: int) -> int:
        """Bytes that the files take once the old ones are gone, and as many more as the wanted bytes need."""
        files = []
        for file in self._files():
            if self._max_age_s is not None and self._clock() - file.written_s > self._max_age_s:
                Path(file.path).unlink(missing_ok=True)
            else:
                files.append(file)
        files.sort(key=lambda file: file.used_ns)
        if files:
            self._last_use_ns = max(self._last_use_ns, files[-1].used_ns)
        taken = sum(file.taken_bytes for file in files)
        if taken + wanted_bytes > self.limit_bytes:
            for file in files:
                if taken + wanted_bytes <= self.limit_bytes * _KEPT_PART:
                    break
                Path(file.path).unlink(missing_ok=True)
                taken -= file.taken_bytes
        return taken

    def _files(self) -> Iterator[_File]:
        kept = self.folder / "kept"
        for folder in sorted(kept.iterdir()) if kept.is_dir() else ():
            for file in os.scandir(folder):
                # Another process may delete it at any time.
                with contextlib.suppress(FileNotFoundError):
                    stat = file.stat()
                    yield _File(file.path, _taken_bytes(stat.st_size), stat.st_mtime, stat.st_atime_ns)

    def _store_error(self, error: OSError) -> StoreError:
        what = os.strerror(error.errno) if error.errno else type(error).__name__
        return _KINDS.get(error.errno, StoreUnreachable)(f"{self.folder}: {what}")

    @staticmethod
    @contextlib.contextmanager
    def _removed_on_error(path: Path) -> Iterator[None]:
        try:
            yield
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _taken_bytes(size_bytes: int) -> int:
    return -(-max(size_bytes, 1) // _BLOCK_BYTES) * _BLOCK_BYTES


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
