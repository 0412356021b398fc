"""The store of a service that keeps nothing."""

from __future__ import annotations

from serve_app.cache.entry import Packed
from serve_app.cache.keys import Key


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
