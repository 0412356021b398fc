"""What streams gather of the files they send, so that a file can be kept once it is whole; bounded for all together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Gathering:
    """The room that all streams of a process share. max_bytes: that may lie here at once; 0 gathers nothing.

    size_bytes: that lie here. For one event loop.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._open: set[Gathered] = set()

    @contextmanager
    def one(self) -> Iterator[Gathered]:
        """A file to gather; its room is free again when the block is left, whichever way."""
        gathered = Gathered(self)
        self._open.add(gathered)
        try:
            yield gathered
        finally:
            gathered.give_up()
            self._open.remove(gathered)

    def check_integrity(self) -> None:
        """Raises: AssertionError where the count is wrong or over the limit."""
        assert self.size_bytes == sum(gathered.size_bytes for gathered in self._open)
        assert self.size_bytes <= self.max_bytes


class Gathered:
    """One file, piece by piece. size_bytes: of its pieces.

    It gives up, and lets go of its pieces, at the piece for which there is no room: the others then have more.
    """

    def __init__(self, gathering: Gathering) -> None:
        self.size_bytes = 0
        self._gathering = gathering
        self._pieces: list[bytes] | None = []

    def add(self, piece: bytes) -> None:
        """Takes the next piece, unless it has given up."""
        if self._pieces is None:
            return
        if self._gathering.size_bytes + len(piece) > self._gathering.max_bytes:
            self.give_up()
            return
        self._pieces.append(piece)
        self._count(len(piece))

    def whole(self) -> bytes | None:
        """All pieces in one, for whoever has added the last; None if it gave up."""
        return None if self._pieces is None else b"".join(self._pieces)

    def give_up(self) -> None:
        """Gathers no more. Once is enough, and twice does no harm."""
        self._pieces = None
        self._count(-self.size_bytes)

    def _count(self, num_bytes: int) -> None:
        self.size_bytes += num_bytes
        self._gathering.size_bytes += num_bytes
