"""What a store is: a place that holds entries under keys, and may be slow, full or gone.

A store knows nothing of what an entry means: it gives back what was put there, or nothing, or one of the errors below.
A blocking store does the work; `Threaded` makes it one that an event loop can wait for.

The store of a service that keeps nothing.
"""

from __future__ import annotations

from typing import Literal, Protocol

from serve_app.cache.entry import Packed
from serve_app.cache.keys import Key

FaultKind = Literal["unreachable", "timeout", "busy", "denied", "full", "refused"]


class StoreError(Exception):
    """The store could not do as asked. kind: the sort of fault, for counters and the log."""

    kind: FaultKind = "refused"


class StoreUnreachable(StoreError):
    """No answer, half of one, or one that says: not now."""

    kind = "unreachable"


class StoreTimeout(StoreError):
    """No answer within the time-out."""

    kind = "timeout"


class StoreBusy(StoreError):
    """Too many wait for the store already. Says nothing about how the store is."""

    kind = "busy"


class StoreDenied(StoreError):
    """The store is there and does not let us."""

    kind = "denied"


class StoreFull(StoreError):
    """No room for one more entry."""

    kind = "full"


class BlockingStore(Protocol):
    """A store whose calls wait. Safe to call from several threads at once, and from several processes.

    Every call raises StoreError, and nothing else, for what may go wrong with a store.
    """

    def get(self, key: Key) -> Packed | None:
        """The entry under `key`; None where there is none."""
        ...

    def put(self, key: Key, entry: Packed) -> None:
        """Keeps the entry, whole or not at all, in place of the one before. A store may drop any entry later."""
        ...

    def delete(self, key: Key) -> None:
        """Forgets the entry, if there is one."""
        ...

    def link(self, key: Key, expires_s: int, file_name: str) -> str | None:
        """A URL that gives the entry's body to whoever has it, for so long; None from a store that has no URLs.

        file_name: what a browser saves it as.
        """
        ...

    def close(self) -> None:
        """Gives back what the store holds; no call follows."""
        ...


class Store(Protocol):
    """The same for an event loop: no call holds it up, and each ends within its time-out."""

    async def get(self, key: Key) -> Packed | None: ...

    async def put(self, key: Key, entry: Packed) -> None: ...

    async def delete(self, key: Key) -> None: ...

    async def link(self, key: Key, expires_s: int, file_name: str) -> str | None: ...

    async def close(self) -> None: ...


class NothingKept:
    """Every entry is forgotten as it is put."""

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
        """Nothing is held."""
