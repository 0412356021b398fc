"""What was used last, in memory and ready for use: a hit on it waits for no store and sums up no bytes."""

from __future__ import annotations

from collections import OrderedDict

from serve_app.cache.entry import KeptCodes, KeptSound
from serve_app.cache.keys import Key

# Key, object and dictionary slot: so that small entries count too.
_OVERHEAD_BYTES = 512


class Recent:
    """Codes and sound by key, the least recently used first out. max_bytes: of all together; 0 holds nothing.

    No aliases: another replica may point one elsewhere, while what a key of codes or sound stands for never changes.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._kept: OrderedDict[Key, KeptCodes | KeptSound] = OrderedDict()

    def get(self, key: Key) -> KeptCodes | KeptSound | None:
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: Key, kept: KeptCodes | KeptSound) -> None:
        """What is larger than an eighth of the whole is not held: it would drive out much and serve little."""
        self.drop(key)
        if _bytes_of(kept) > self.max_bytes / 8:
            return
        self._kept[key] = kept
        self.size_bytes += _bytes_of(kept)
        while self.size_bytes > self.max_bytes:
            self.drop(next(iter(self._kept)))

    def drop(self, key: Key) -> None:
        """Forgets the entry, if there is one."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.size_bytes -= _bytes_of(kept)

    def check_integrity(self) -> None:
        """Raises: AssertionError where the count is wrong or over the limit."""
        assert self.size_bytes == sum(map(_bytes_of, self._kept.values()))
        assert self.size_bytes <= self.max_bytes


def _bytes_of(kept: KeptCodes | KeptSound) -> int:
    return _OVERHEAD_BYTES + (kept.codes.nbytes if isinstance(kept, KeptCodes) else len(kept.sound))
