"""What a store is: it holds entries under keys, and may be slow, full or unreachable.

A store knows nothing of what an entry means: it returns what was put there, or nothing, or raises one of the errors
below. A blocking store does the work; `ThreadedStore` makes it one that an event loop can wait for.
"""

from __future__ import annotations

import errno
import os
from typing import Literal, Protocol

from serve_app.cache.entry import Packed
from serve_app.cache.keys import Key

FaultKind = Literal["unreachable", "timeout", "busy", "denied", "full", "refused"]


class StoreError(Exception):
    """The store failed. kind: the kind of fault, for counters and the log."""

    kind: FaultKind = "refused"


class StoreUnreachable(StoreError):
    """No answer, half of one, or one that says: not now."""

    kind = "unreachable"


class StoreTimeout(StoreError):
    """No answer within the time-out."""

    kind = "timeout"


class StoreBusy(StoreError):
    """Too many calls wait already. This says nothing about the state of the store."""

    kind = "busy"


class StoreDenied(StoreError):
    """The store answers, and denies access."""

    kind = "denied"


class StoreFull(StoreError):
    """There is no room for another entry."""

    kind = "full"


_KIND_BY_ERRNO: dict[int | None, type[StoreError]] = {
    errno.ENOSPC: StoreFull,
    errno.EDQUOT: StoreFull,
    errno.EFBIG: StoreFull,
    errno.EACCES: StoreDenied,
    errno.EPERM: StoreDenied,
    errno.EROFS: StoreDenied,
}


def error_of_file(error: OSError, where: object) -> StoreError:
    """The StoreError for an error of the file system. where: the file or folder."""
    what = os.strerror(error.errno) if error.errno else type(error).__name__
    return _KIND_BY_ERRNO.get(error.errno, StoreUnreachable)(f"{where}: {what}")


class BlockingStore(Protocol):
    """A store whose calls block. Safe to call from several threads at once, and from several processes.

    Every call raises StoreError, and nothing else, for whatever goes wrong with a store.
    """

    def get(self, key: Key) -> Packed | None:
        """The entry under `key`; None where there is none."""
        ...

    def put(self, key: Key, entry: Packed) -> None:
        """Stores the whole entry or nothing, in place of the one before. A store may evict any entry later."""
        ...

    def delete(self, key: Key) -> None:
        """Deletes the entry, if there is one."""
        ...

    def link(self, key: Key, expires_s: int, file_name: str) -> str | None:
        """A URL from which anyone can fetch the entry's body for `expires_s`; None from a store that has no URLs.

        file_name: the name under which a browser saves it.
        """
        ...

    def close(self) -> None:
        """Releases what the store holds; no call follows."""
        ...


class Store(Protocol):
    """The same for an event loop: no call blocks it, and each ends within its time-out."""

    async def get(self, key: Key) -> Packed | None: ...

    async def put(self, key: Key, entry: Packed) -> None: ...

    async def delete(self, key: Key) -> None: ...

    async def link(self, key: Key, expires_s: int, file_name: str) -> str | None: ...

    async def close(self) -> None: ...


class NullStore:
    """A store that stores nothing."""

    def get(self, key: Key) -> Packed | None:
        del key
        return None

    def put(self, key: Key, entry: Packed) -> None:
        del key, entry

    def delete(self, key: Key) -> None:
        del key

    def link(self, key: Key, expires_s: int, file_name: str) -> str | None:
        del key, expires_s, file_name
        return None

    def close(self) -> None:
        """There is nothing to release."""
