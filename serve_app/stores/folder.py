"""The store for one machine, or for several with a file system in common: a folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from serve_app.cache.entry import Packed
from serve_app.cache.keys import Key, Kind
from serve_app.stores.shelf import Shelf


class FolderStore:
    """Entries as files below `folder`: `codes/kept/ab/cdef…`, and so for aliases and sound.

    max_size_bytes: that the folder takes of the disk. max_sound_bytes: of that, what sound may take; it is a hundred
    times larger than the codes it is made of, and would else drive them out. The others: as `Shelf`. No entry's name is
    anything but hexadecimal digits (`Key` sees to that), so none leads out of the folder.
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
        # An alias takes one block of 4 KiB, codes one to three.
        alias_bytes = (max_size_bytes - max_sound_bytes) // 8
        limits: dict[Kind, int] = {
            "codes": max_size_bytes - max_sound_bytes - alias_bytes,
            "alias": alias_bytes,
            "sound": max_sound_bytes,
        }
        self._shelves = {
            kind: Shelf(folder / kind, limit, max_age_s=max_age_s, lock_timeout_s=lock_timeout_s, clock=clock)
            for kind, limit in limits.items()
        }

    def get(self, key: Key) -> Packed | None:
        """Raises: StoreError."""
        data = self._shelves[key.kind].read(key.digest)
        return None if data is None else Packed.split(data)

    def put(self, key: Key, entry: Packed) -> None:
        """Raises: StoreError."""
        self._shelves[key.kind].write(key.digest, entry.head, entry.body)

    def delete(self, key: Key) -> None:
        """Raises: StoreError."""
        self._shelves[key.kind].delete(key.digest)

    def link(self, key: Key, expires_s: int, file_name: str) -> None:
        """A folder has no URLs."""
        del key, expires_s, file_name

    def close(self) -> None:
        """Nothing is held."""

    def check_integrity(self) -> None:
        """Raises: AssertionError, as `Shelf.check_integrity`, for any shelf that has been written to."""
        for shelf in self._shelves.values():
            if shelf.folder.is_dir():
                shelf.check_integrity()
