"""Finished files on their way to clients: on the disk rather than in memory, however many read, and however slowly.

A file is made once for all who ask for it at the same time, and is there until the last of them has gone. It has no
name, so nothing is left of it when the process dies.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO

from deployments.logs.catalogue import SPOOL_FAILED
from deployments.messages import GenerationStart
from serve_app.api.backend import Kept
from serve_app.api.errors import NotReady
from serve_app.api.in_thread import to_its_end
from serve_app.detached import detached

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
