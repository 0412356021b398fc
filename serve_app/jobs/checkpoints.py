"""Saving the codes of running variations in the database: one transaction after the other for all of this replica.

Frames that come while a transaction is running go into the next one, so saving never delays generating. Once a second
the writer also asks whether all variations are still this replica's to generate.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from deployments.liveness.stalls import within
from deployments.messages import CodeFrames, GenerationStart
from serve_app.errors import NotReady
from serve_app.job import Checkpoint, VariationId

# How often the token is checked where there is nothing to save.
CHECK_S = 1.0

Save = Callable[[Sequence[Checkpoint]], Awaitable[set[VariationId]]]


@dataclass(eq=False)
class RunningVariation:
    """A variation that runs here, and what of it is not saved yet. fenced: is set when it is no longer ours."""

    variation: VariationId
    token: int
    fenced: asyncio.Event = field(default_factory=asyncio.Event)
    _start: GenerationStart | None = None
    _parts: list[CodeFrames] = field(default_factory=list)

    def add(self, item: GenerationStart | CodeFrames) -> None:
        """Another item to save."""
        if isinstance(item, GenerationStart):
            self._start = item
        else:
            self._parts.append(item)

    @property
    def is_saved(self) -> bool:
        return self._start is None and not self._parts

    def checkpoint(self) -> Checkpoint:
        """All that is not saved yet; an empty one only checks the token."""
        if not self._parts:
            return Checkpoint(self.variation, self.token, self._start, None)
        codes = np.concatenate([part.codes for part in self._parts], axis=1)
        first = self._parts[0]
        frames = CodeFrames(first.request_id, first.first_frame, codes, False)
        return Checkpoint(self.variation, self.token, self._start, frames)

    def saved(self, checkpoint: Checkpoint) -> None:
        """The checkpoint is in the database."""
        if checkpoint.start is not None:
            self._start = None
        if checkpoint.frames is not None:
            end = checkpoint.frames.first_frame + checkpoint.frames.codes.shape[1]
            self._parts = [part for part in self._parts if part.first_frame >= end]


class CheckpointWriter:
    """Saves the progress of all running variations of this replica, in batches.

    save: writes a batch, and returns which variations are fenced; on NotReady the same is tried again.
    """

    def __init__(self, save: Save) -> None:
        self._save = save
        self._running: list[RunningVariation] = []
        self._has_news = asyncio.Event()
        self._saved = asyncio.Condition()

    def __len__(self) -> int:
        return len(self._running)

    @contextlib.contextmanager
    def saving(self, running: RunningVariation) -> Iterator[None]:
        """Saves what is added to it while the block runs; `flush` inside of it saves the rest."""
        self._running.append(running)
        try:
            yield
        finally:
            self._running.remove(running)

    def notify(self) -> None:
        """There is something to save."""
        self._has_news.set()

    async def flush(self, running: RunningVariation) -> None:
        """Returns when all of it is saved, or it is fenced."""
        async with self._saved:
            while not running.is_saved and not running.fenced.is_set():
                self._has_news.set()
                await self._saved.wait()

    async def flush_all(self) -> None:
        """As `flush`, for all that run now."""
        await asyncio.gather(*(self.flush(each) for each in self._running))

    async def run(self) -> None:
        """Saves until cancelled."""
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await within(self._has_news.wait(), CHECK_S)
            self._has_news.clear()
            running = list(self._running)
            if not running:
                continue
            batch = [each.checkpoint() for each in running]
            try:
                fenced = await self._save(batch)
            except NotReady:
                await asyncio.sleep(CHECK_S)
                self._has_news.set()
                continue
            async with self._saved:
                for each, checkpoint in zip(running, batch, strict=True):
                    if each.variation in fenced:
                        each.fenced.set()
                    else:
                        each.saved(checkpoint)
                self._saved.notify_all()
