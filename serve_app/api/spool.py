"""What streams gather of the files they send, so that a file can be kept once it is whole; bounded for all together.

Finished files on their way to clients: on the disk rather than in memory, however many read, and however slowly.

A file is made once for all who ask for it at the same time, and is there until the last of them has gone. It has no
name, so nothing is left of it when the process dies.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from deployments.messages import GenerationStart
from serve_app.api.backends import Kept
from serve_app.errors import NotReady
from serve_app.tasks import detached, to_its_end
from serve_app.telemetry.service_metrics import SPOOL_FAILED


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


_log = logging.getLogger("ray.serve.api")  # below Serve's own, whose files and format it shares

PIECE_BYTES = 64 * 1024
# Each holds a whole clip in memory until it is on the disk.
MAX_MAKING = 4


@dataclass(frozen=True)
class SpooledSound:
    """A file on the disk, and what its answer's headers say of it."""

    start: GenerationStart
    media_type: str
    sample_rate: int
    channels: int
    duration_ms: int
    size_bytes: int
    file: BinaryIO

    async def pieces(self, first: int, end: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `first` to before `end`, each piece read when it is asked for."""
        while first < end:
            piece = await to_its_end(os.pread, self.file.fileno(), min(PIECE_BYTES, end - first), first)
            if not piece:
                raise OSError("the spooled file is shorter than what was written")
            first += len(piece)
            yield piece


@dataclass
class _Shared:
    """A file and how many read it, or wait for it."""

    spooling: asyncio.Task[SpooledSound]
    readers: int = 0


class Spool:
    """For one event loop. num_files: that are on the disk or being made."""

    def __init__(self) -> None:
        self._shared: dict[Hashable, _Shared] = {}
        self._making = asyncio.Semaphore(MAX_MAKING)

    @property
    def num_files(self) -> int:
        return len(self._shared)

    @asynccontextmanager
    async def reading(self, name: Hashable, make: Callable[[], Awaitable[Kept]]) -> AsyncGenerator[SpooledSound, None]:
        """The file called `name`, for as long as the block lasts; made by `make` unless somebody has it.

        Raises: what `make` raises; NotReady where there is no room on the disk.
        """
        shared = self._shared.get(name)
        if shared is None:
            shared = self._shared[name] = _Shared(detached(self._spooled(make)))
        shared.readers += 1
        try:
            yield await asyncio.shield(shared.spooling)
        finally:
            shared.readers -= 1
            if shared.readers == 0:
                del self._shared[name]
                # Whatever becomes of this task, and of its waiting, the file is closed.
                shared.spooling.cancel()
                shared.spooling.add_done_callback(_close)
                await asyncio.wait({shared.spooling})

    async def _spooled(self, make: Callable[[], Awaitable[Kept]]) -> SpooledSound:
        async with self._making:
            kept = await make()
            try:
                file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the last reader
                try:
                    await to_its_end(_write, file, kept.file.sound)
                except BaseException:
                    file.close()
                    raise
            except OSError as error:
                SPOOL_FAILED.tell(_log, error)
                raise NotReady("The service has no room for the sound just now; try again in a moment.") from error
            made = kept.file
            size_bytes = len(made.sound)
            return SpooledSound(
                kept.start, made.media_type, made.sample_rate, made.channels, made.duration_ms, size_bytes, file
            )

    def check_integrity(self) -> None:
        """Raises: AssertionError where a file is kept that nobody reads."""
        assert all(shared.readers > 0 for shared in self._shared.values())


def _close(spooling: asyncio.Task[SpooledSound]) -> None:
    if not spooling.cancelled() and spooling.exception() is None:
        spooling.result().file.close()


def _write(file: BinaryIO, sound: bytes) -> None:
    file.write(sound)
    file.flush()
