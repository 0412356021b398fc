"""The store for one machine, or for several that share a file system: folders of files with a size limit.

The least recently used files are evicted first. Everything is in the file system, so that processes share it and a
restart loses nothing. A file's modification time is when it was written, by the wall clock; its access time is when it
was last used. Times of use follow the clock but never go back with it, so a moved clock does not change the order.

Writers take turns (`UsageLock`) and count the bytes. The count is an upper bound: it grows before a file appears and
does not shrink when one is replaced or deleted, so a crash leaves it on the safe side. The folder is read, and the
count made exact again, when the bound reaches the limit, and now and then to delete expired files.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from serve_app.cache.entry import Packed
from serve_app.cache.keys import Key, Kind
from serve_app.stores.store import StoreFull, StoreTimeout, error_of_file

_NUMBERS = struct.Struct(">QQ")
_POLL_S = 0.005

# Files occupy whole blocks of a disk. Else a million small ones would count as next to nothing.
_BLOCK_BYTES = 4096
# Evicting goes down to this part of the limit, so that there is room for more files before the folder is read again.
_FULL_PART = 0.9
# Expired files are deleted at the first write after this time.
_READ_EVERY_S = 3600.0


@dataclass
class Usage:
    """What the writer that holds the lock knows of the folder. taken_bytes: None before the first count."""

    taken_bytes: int | None
    last_use_ns: int
    descriptor: int

    def save(self) -> None:
        """Stores both numbers for the next writer. Raises: OSError."""
        os.pwrite(self.descriptor, _NUMBERS.pack(self.taken_bytes or 0, self.last_use_ns), 0)


@dataclass(frozen=True)
class UsageLock:
    """A lock among processes, and two numbers, in a file at `path`. timeout_s: how long to wait for the lock."""

    path: Path
    timeout_s: float

    @contextlib.contextmanager
    def held(self) -> Iterator[Usage]:
        """One writer at a time, of all threads and processes; the kernel releases the lock of one that dies.

        Raises: StoreTimeout where another writer does not release it, being suspended perhaps; OSError.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._lock(descriptor)
            numbers = os.pread(descriptor, _NUMBERS.size, 0)
            if len(numbers) == _NUMBERS.size:
                taken_bytes, last_use_ns = _NUMBERS.unpack(numbers)
                yield Usage(taken_bytes, last_use_ns, descriptor)
            else:
                yield Usage(None, 0, descriptor)
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        until = time.monotonic() + self.timeout_s
        while True:
            try:
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise StoreTimeout(f"another writer has held {self.path} for {self.timeout_s:g} s") from None
                time.sleep(_POLL_S)


@dataclass(frozen=True)
class _File:
    path: str
    taken_bytes: int
    written_s: float
    used_ns: int


class LruFolder:
    """Files in a folder, which is created when needed; the least recently used are evicted first.

    Args:
        limit_bytes: of disk space that the files use together.
        max_age_s: older files are deleted; None: no file expires.
        lock_timeout_s: how long a writer waits for its turn.
        clock: seconds since 1970.
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
        self._lock = UsageLock(folder / "ledger", lock_timeout_s)
        self._new = folder / "new"
        self._read_at_s: float | None = None
        self._last_use_ns = 0

    def read(self, name: str) -> bytes | None:
        """The file's bytes, None where there is none; it is now the most recently used. Raises: StoreError.

        name: more than two hexadecimal digits, which the caller guarantees.
        """
        path = self._path(name)
        try:
            with path.open("rb") as file:
                data = file.read()
                times = os.fstat(file.fileno())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise error_of_file(error, self.folder) from error
        self._last_use_ns = max(self._last_use_ns, times.st_atime_ns)
        # It may have been deleted meanwhile, or the disk is read-only; then its time of use stays, which does no harm.
        with contextlib.suppress(OSError):
            os.utime(path, ns=(self._use_ns(), times.st_mtime_ns))
        return data

    def write(self, name: str, *parts: bytes) -> None:
        """Replaces the file by one of these parts, as a whole or not at all.

        Nothing is flushed to the disk: that takes milliseconds, and the checksum of an entry reveals a file that a
        power loss has cut. Raises: StoreFull for a full disk, or a file larger than the limit; StoreError.
        """
        size_bytes = _taken_bytes(sum(map(len, parts)))
        if size_bytes > self.limit_bytes:
            raise StoreFull(f"an entry of {size_bytes} bytes does not fit into {self.folder}: {self.limit_bytes} bytes")
        path = self._path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Only the writer with the lock uses `new`; what is there already was left by one that died.
            with self._lock.held() as usage, contextlib.ExitStack() as at_end:
                at_end.callback(self._new.unlink, missing_ok=True)  # in case of an error
                with self._new.open("wb", buffering=0) as file:
                    for part in parts:
                        _write_all(file.fileno(), part)
                self._make_room(usage, size_bytes)
                os.utime(self._new, ns=(usage.last_use_ns, int(self._clock() * 1e9)))
                self._new.replace(path)
        except OSError as error:
            raise error_of_file(error, self.folder) from error

    def delete(self, name: str) -> None:
        """Removes the file, if there is one. Raises: StoreError."""
        try:
            self._path(name).unlink(missing_ok=True)
        except OSError as error:
            raise error_of_file(error, self.folder) from error

    def check_integrity(self) -> None:
        """Raises: AssertionError where files exceed the limit or the count, or one is half written."""
        with self._lock.held() as usage:
            taken = sum(file.taken_bytes for file in self._files())
            assert taken <= self.limit_bytes, f"{taken} bytes in a folder for {self.limit_bytes}"
            assert usage.taken_bytes is not None, "nobody has counted"
            assert taken <= usage.taken_bytes, f"{taken} bytes, of which {usage.taken_bytes} are counted"
            assert not self._new.exists(), "a file is half written"

    def _path(self, name: str) -> Path:
        return self.folder / "kept" / name[:2] / name[2:]

    def _use_ns(self) -> int:
        """The time of a use now: later than any other known."""
        self._last_use_ns = max(int(self._clock() * 1e9), self._last_use_ns + 1)
        return self._last_use_ns

    def _make_room(self, usage: Usage, wanted_bytes: int) -> None:
        """Counts the bytes, after evicting files where they need it."""
        now_s = time.monotonic()
        unread = self._read_at_s is None or now_s - self._read_at_s > _READ_EVERY_S
        if usage.taken_bytes is None or unread or usage.taken_bytes + wanted_bytes > self.limit_bytes:
            usage.taken_bytes = self._evict(wanted_bytes)
            self._read_at_s = now_s
        usage.taken_bytes += wanted_bytes
        self._last_use_ns = max(self._last_use_ns, usage.last_use_ns)
        usage.last_use_ns = self._use_ns()
        usage.save()

    def _evict(self, wanted_bytes: int) -> int:
        """Deletes expired files, and more where the wanted bytes need it. Returns the bytes that the rest take."""
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
                if taken + wanted_bytes <= self.limit_bytes * _FULL_PART:
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


class FolderStore:
    """A `BlockingStore`: entries are files below `folder`, as `codes/kept/ab/cdef…`; aliases and sound likewise.

    A name is hexadecimal digits only (`Key` checks that), so that none leads out of the folder.

    Args:
        max_size_bytes: disk space that the folder uses.
        max_sound_bytes: of that, for sound, which is a hundred times larger than its codes and would evict them.
        max_age_s, lock_timeout_s, clock: as `LruFolder`.
    """

    def __init__(
        self,
        folder: Path,
        max_size_bytes: int,
        max_sound_bytes: int,
        *,
        max_age_s: float | None = None,
        lock_timeout_s: float = 2.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        # An alias takes one block, codes one to three.
        alias_bytes = (max_size_bytes - max_sound_bytes) // 8
        limits: dict[Kind, int] = {
            "codes": max_size_bytes - max_sound_bytes - alias_bytes,
            "alias": alias_bytes,
            "sound": max_sound_bytes,
        }
        self._folders = {
            kind: LruFolder(folder / kind, limit, max_age_s=max_age_s, lock_timeout_s=lock_timeout_s, clock=clock)
            for kind, limit in limits.items()
        }

    def get(self, key: Key) -> Packed | None:
        """Raises: StoreError."""
        data = self._folders[key.kind].read(key.digest)
        return None if data is None else Packed.split(data)

    def put(self, key: Key, entry: Packed) -> None:
        """Raises: StoreError."""
        self._folders[key.kind].write(key.digest, entry.head, entry.body)

    def delete(self, key: Key) -> None:
        """Raises: StoreError."""
        self._folders[key.kind].delete(key.digest)

    def link(self, key: Key, expires_s: int, file_name: str) -> None:
        """A folder has no URLs."""
        del key, expires_s, file_name

    def close(self) -> None:
        """There is nothing to release."""

    def check_integrity(self) -> None:
        """Raises: AssertionError, as `LruFolder.check_integrity`, for any kind that was ever written."""
        for files in self._folders.values():
            if files.folder.is_dir():
                files.check_integrity()


def _taken_bytes(size_bytes: int) -> int:
    return -(-max(size_bytes, 1) // _BLOCK_BYTES) * _BLOCK_BYTES


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
