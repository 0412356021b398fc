"""The spool: finished files that are being sent lie on the disk rather than in memory, however slow the clients.

A file is made once for all concurrent requests, and stays until the last of them has ended. It has no name in the file
system, so nothing is left of it when the process dies.
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

from deployments.messages import GenerationStart
from serve_app.api.backends import CachedFile
from serve_app.errors import NotReady
from serve_app.tasks import detached, finish_in_thread
from serve_app.telemetry.service_metrics import SPOOL_FAILED

_log = logging.getLogger("ray.serve.api")  # below Serve's own, whose files and format it shares

PIECE_BYTES = 64 * 1024
# Each file that is being made has a whole clip in memory until it is on the disk.
MAX_MAKING = 4


@dataclass(frozen=True)
class SpooledSound:
    """A file on the disk, with what its answer's headers say of it."""

    start: GenerationStart
    media_type: str
    sample_rate: int
    channels: int
    duration_ms: int
    size_bytes: int
    file: BinaryIO

    async def pieces(self, first: int, end: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `first` to `end`, excluded; each piece is read on demand."""
        while first < end:
            piece = await finish_in_thread(os.pread, self.file.fileno(), min(PIECE_BYTES, end - first), first)
            if not piece:
                raise OSError("the spooled file is shorter than what was written")
            first += len(piece)
            yield piece


@dataclass
class _Shared:
    """A file, and how many requests read it or wait for it."""

    spooling: asyncio.Task[SpooledSound]
    readers: int = 0


class Spool:
    """The files of one process. For one event loop."""

    def __init__(self) -> None:
        self._shared: dict[Hashable, _Shared] = {}
        self._making = asyncio.Semaphore(MAX_MAKING)

    @property
    def num_files(self) -> int:
        """Files on the disk or being made."""
        return len(self._shared)

    @asynccontextmanager
    async def reading(
        self, name: Hashable, make: Callable[[], Awaitable[CachedFile]]
    ) -> AsyncGenerator[SpooledSound, None]:
        """The file called `name`, while the block lasts; made by `make` unless another request has it.

        Raises:
            NotReady: the disk is full.
            ServiceError: whatever `make` raises.
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
                # The file is closed even where this task is cancelled here.
                shared.spooling.cancel()
                shared.spooling.add_done_callback(_close)
                await asyncio.wait({shared.spooling})

    async def _spooled(self, make: Callable[[], Awaitable[CachedFile]]) -> SpooledSound:
        async with self._making:
            made = await make()
            try:
                file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the last reader
                try:
                    await finish_in_thread(_write, file, made.file.sound)
                except BaseException:
                    file.close()
                    raise
            except OSError as error:
                SPOOL_FAILED.tell(_log, error)
                raise NotReady("The service has no room for the sound just now; try again in a moment.") from error
            sound = made.file
            size_bytes = len(sound.sound)
            return SpooledSound(
                made.start, sound.media_type, sound.sample_rate, sound.channels, sound.duration_ms, size_bytes, file
            )

    def check_integrity(self) -> None:
        """Raises: AssertionError for a file that no request reads."""
        assert all(shared.readers > 0 for shared in self._shared.values())


def _close(spooling: asyncio.Task[SpooledSound]) -> None:
    if not spooling.cancelled() and spooling.exception() is None:
        spooling.result().file.close()


def _write(file: BinaryIO, sound: bytes) -> None:
    file.write(sound)
    file.flush()
