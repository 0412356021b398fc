"""The workers that make a generation: how the pipeline calls them, and when a generation may be retried.

`ModelStages` is one model's deployments as the pipeline calls them. `chunk_ends` says how often a language model
reports frames. A generation that lost its worker is resumed on another one. It may itself be what killed the worker
(a poison request), so `WorkerLosses` decides when it has to be given up, and `RetryTurns` lets only one such
generation of a model run at a time: if it kills again, no other suspect is lost with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Protocol

import numpy as np

from deployments.codec_decoder.windows import windows
from deployments.messages import CodeFrames, CodeRequest, EngineIdentity, Heartbeat, QueueClass, SoundFormat
from serve_app.database.lease_table import HeldLease, TakenLease
from serve_app.database.leases import LeaseRenewer

# The most frames in one chunk: half of the largest window. A lost worker costs the frames made since its last report,
# and those that were on their way.
MAX_CHUNK_FRAMES = 25
# Machines that fail at random do not hit one generation so often.
MAX_LOSSES = 5
# A killed worker has made more frames than it reported: up to a window, and what was on its way.
MARGIN_FRAMES = 100
# How often a replica asks again for a turn that another one has.
_POLL_S = 0.1


class WorkerLost(Exception):
    """The replica at work is gone, or must be treated as gone; nothing more comes from it."""


class ModelStages(Protocol):
    """One model's deployments, as far as codes need them. Every call raises WorkerLost where its replica is lost."""

    async def encode(self, prompt: str) -> np.ndarray:
        """Text states, float32 [S, D]."""
        ...

    def generate(self, request: CodeRequest) -> AsyncGenerator[CodeFrames | Heartbeat, None]:
        """Yields frames in order, from the first one after the prompt codes to the last, with heartbeats between them.

        Closing it frees the slot. Raises: EngineFull; EngineMismatch; OutOfMemory; ValueError.
        """
        ...

    async def sound_format(self) -> SoundFormat: ...

    async def identity(self, queue: QueueClass) -> EngineIdentity:
        """The identity of the first engine of the queue class that answers."""
        ...


def chunk_ends(num_frames: int, lookahead: int) -> Iterator[int]:
    """The frame numbers at which a language model reports, in order, the last one included.

    They are the frames at which a window of sound can be decoded, and enough between them that no chunk is longer than
    MAX_CHUNK_FRAMES. Like `windows`, all but the last depend on the frame number alone.
    """
    reported = 0
    for _, end in windows(num_frames, lookahead):
        new = min(end + lookahead, num_frames) - reported
        parts = -(-new // MAX_CHUNK_FRAMES)
        yield from (reported + new * part // parts for part in range(1, parts + 1))
        reported += new


class WorkerLosses:
    """Counts the workers that one generation has lost, and tells poison requests from bystanders.

    A poison request kills again at the same frame, give or take MARGIN_FRAMES. A bystander gets further: after a loss
    it waits for its turn (`RetryTurns`) until it is well past the frame of the loss. So two losses at one place mean
    poison, and losses that a bystander had on its way do not count against it.
    """

    def __init__(self) -> None:
        self.count = 0
        self._at_frame: int | None = None

    @property
    def is_suspect(self) -> bool:
        """Whether the generation is not yet well past the frame at which it lost a worker."""
        return self._at_frame is not None

    def record(self, num_frames: int) -> bool:
        """Records a loss when `num_frames` had been made. Returns whether the generation must be given up."""
        self.advance(num_frames)
        again = self._at_frame is not None
        self.count += 1
        self._at_frame = num_frames
        return again or self.count == MAX_LOSSES

    def advance(self, num_frames: int) -> None:
        """Called when `num_frames` have been made."""
        if self._at_frame is not None and num_frames > self._at_frame + MARGIN_FRAMES:
            self._at_frame = None


class RetryLeases(Protocol):
    """The part of `Leases` that it takes to have one turn among all pipeline replicas."""

    async def take(self, name: str, *, value: str = "") -> HeldLease | TakenLease | None: ...

    def renewing(self, held: HeldLease) -> LeaseRenewer: ...


class RetryTurns:
    """Turns for those of one model's generations that lost their worker: one of them runs at a time.

    Args:
        model: the model's name.
        leases: shared with the other pipeline replicas. While the database cannot tell who has the turn, there is one
            turn in each replica.
    """

    def __init__(self, model: str, leases: RetryLeases) -> None:
        self._name = f"turn/{model}"
        self._leases = leases
        self._lock = asyncio.Lock()

    def turn(self) -> RetryTurn:
        return RetryTurn(self._lock, self._leases, self._name)


class RetryTurn:
    """One generation's turn: waited for on entering, over at `end` or on leaving, whichever comes first."""

    def __init__(self, lock: asyncio.Lock, leases: RetryLeases, name: str) -> None:
        self._lock = lock
        self._leases = leases
        self._name = name
        self._held = AsyncExitStack()

    async def end(self) -> None:
        """Gives the turn to the next one. May be called more than once."""
        await self._held.aclose()

    async def __aenter__(self) -> RetryTurn:
        try:
            await self._held.enter_async_context(self._lock)
            while isinstance(taken := await self._leases.take(self._name), TakenLease):  # noqa: ASYNC110 - by another process
                await asyncio.sleep(_POLL_S)
            if taken is not None:
                await self._held.enter_async_context(self._leases.renewing(taken))
        except BaseException:
            await self._held.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.end()
