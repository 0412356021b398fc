"""What the pipeline needs of the deployments that make a generation, and how it learns that one is gone.

At which numbers of frames a language model tells what it has made.

When a generation is what kills its workers, rather than one who was there when they died.

Generations that lost their worker, one at a time: one that kills takes no other suspect with it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Protocol

import numpy as np

from deployments.codec_decoder.windows import windows
from deployments.messages import Beat, CodeFrames, CodeRequest, EngineIdentity, QueueClass, SoundFormat
from serve_app.database.lease_table import Held, Taken
from serve_app.database.leases import Keeper


class WorkerLost(Exception):
    """The replica that was at work is gone, or as good as gone; nothing more comes from it."""


class Stages(Protocol):
    """One model's deployments, as far as codes need them. Every call raises WorkerLost where its replica is lost."""

    async def encode(self, prompt: str) -> np.ndarray:
        """Text states, float32 [S, D]."""
        ...

    def generate(self, request: CodeRequest) -> AsyncGenerator[CodeFrames | Beat, None]:
        """Frames in order, from the first not among the prompt codes to the last, and signs of life between them.

        Closing it frees the slot. Raises: EngineFull; OtherEngine; OutOfMemory; ValueError.
        """
        ...

    async def sound_format(self) -> SoundFormat: ...

    async def identity(self, queue: QueueClass) -> EngineIdentity:
        """Of the queue class's engine that answers first."""
        ...


# Half of the largest window. What a worker has made since, and what was on its way, is made again when it is lost.
MOST_FRAMES = 25


def chunk_ends(num_frames: int, lookahead: int) -> Iterator[int]:
    """In order, to the last: where a window of sound can be decoded, and between those as often as MOST_FRAMES asks.

    As `windows`, which depend on the frame number alone, but for the last: so do these.
    """
    told = 0
    for _, end in windows(num_frames, lookahead):
        new = min(end + lookahead, num_frames) - told
        parts = -(-new // MOST_FRAMES)
        yield from (told + new * part // parts for part in range(1, parts + 1))
        told += new


# Machines that vanish at random don't take the same generation with them so often.
MAX_LOSSES = 5
# A worker that is killed has made more than it told of: up to a window, and what was on its way.
MARGIN_FRAMES = 100


class Losses:
    """The workers that one generation has lost.

    A request that kills does so again at the same place, give or take MARGIN_FRAMES. A bystander gets further: whoever
    lost a worker goes on alone among those who did (`Suspects`), until it is well beyond that place. So two losses at
    one place tell, and what happened to bystanders on the way does not count against them.
    """

    def __init__(self) -> None:
        self.number = 0
        self._at_frame: int | None = None

    @property
    def suspicious(self) -> bool:
        """Whether the place where a worker was lost is not well behind yet."""
        return self._at_frame is not None

    def lost(self, num_frames: int) -> bool:
        """A worker was lost when so many frames were there. Whether the generation must not be tried again."""
        self.reached(num_frames)
        again = self._at_frame is not None
        self.number += 1
        self._at_frame = num_frames
        return again or self.number == MAX_LOSSES

    def reached(self, num_frames: int) -> None:
        """So many frames are there."""
        if self._at_frame is not None and num_frames > self._at_frame + MARGIN_FRAMES:
            self._at_frame = None


_POLL_S = 0.1


class TurnLeases(Protocol):
    """What of `Leases` it takes for one turn among all replicas."""

    async def take(self, name: str, *, value: str = "") -> Held | Taken | None: ...

    def kept(self, held: Held) -> Keeper: ...


class Suspects:
    """Who of one model's generations may go on, of those that lost their worker and are not well beyond that place.

    leases: shared with the other replicas. Where there is no telling who has the turn, it is one in each of them.
    """

    def __init__(self, model: str, leases: TurnLeases) -> None:
        self._name = f"turn/{model}"
        self._leases = leases
        self._lock = asyncio.Lock()

    def turn(self) -> Turn:
        return Turn(self._lock, self._leases, self._name)


class Turn:
    """One generation's: waited for on entering, over at `end` or on leaving, whichever is first."""

    def __init__(self, lock: asyncio.Lock, leases: TurnLeases, name: str) -> None:
        self._lock = lock
        self._leases = leases
        self._name = name
        self._held = AsyncExitStack()

    async def end(self) -> None:
        """Lets the next one go on; once or more often."""
        await self._held.aclose()

    async def __aenter__(self) -> Turn:
        try:
            await self._held.enter_async_context(self._lock)
            while isinstance(taken := await self._leases.take(self._name), Taken):  # noqa: ASYNC110 - by another process
                await asyncio.sleep(_POLL_S)
            if taken is not None:
                await self._held.enter_async_context(self._leases.kept(taken))
        except BaseException:
            await self._held.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.end()
