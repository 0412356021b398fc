"""Codes on their way into the records: of all that this replica makes, one transaction after the other.

What comes while a transaction is under way goes with the next, so saving never holds up making. It also asks once a
second whether all of it is still ours to make.
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
from serve_app.job import Saving, VariationId

# How often one asks where nothing is to be saved.
ASK_S = 1.0

Save = Callable[[Sequence[Saving]], Awaitable[set[VariationId]]]


@dataclass(eq=False)
class Making:
    """One variation that is made here. fenced: it is no longer ours."""

    variation: VariationId
    token: int
    fenced: asyncio.Event = field(default_factory=asyncio.Event)
    _start: GenerationStart | None = None
    _parts: list[CodeFrames] = field(default_factory=list)

    def add(self, item: GenerationStart | CodeFrames) -> None:
        if isinstance(item, GenerationStart):
            self._start = item
        else:
            self._parts.append(item)

    @property
    def is_saved(self) -> bool:
        return self._start is None and not self._parts

    def saving(self) -> Saving:
        """All that is not saved yet; nothing is a question."""
        if not self._parts:
            return Saving(self.variation, self.token, self._start, None)
        codes = np.concatenate([part.codes for part in self._parts], axis=1)
        first = self._parts[0]
        return Saving(
            self.variation, self.token, self._start, CodeFrames(first.request_id, first.first_frame, codes, False)
        )

    def saved(self, saving: Saving) -> None:
        """That much is in the records."""
        if saving.start is not None:
            self._start = None
        if saving.frames is not None:
            end = saving.frames.first_frame + saving.frames.codes.shape[1]
            self._parts = [part for part in self._parts if part.first_frame >= end]


class Saver:
    """save: writes a batch, and tells which of it is fenced; raises NotReady, after which the same is tried again."""

    def __init__(self, save: Save) -> None:
        self._save = save
        self._makings: list[Making] = []
        self._news = asyncio.Event()
        self._round = asyncio.Condition()

    def __len__(self) -> int:
        return len(self._makings)

    @contextlib.contextmanager
    def saving(self, making: Making) -> Iterator[None]:
        """Saves what comes of it while the block runs; who wants the last of it saved calls `flush` in there."""
        self._makings.append(making)
        try:
            yield
        finally:
            self._makings.remove(making)

    def has_news(self) -> None:
        """There is something to save."""
        self._news.set()

    async def flush(self, making: Making) -> None:
        """Returns when all of it is saved, or it is fenced."""
        async with self._round:
            while not making.is_saved and not making.fenced.is_set():
                self._news.set()
                await self._round.wait()

    async def flush_all(self) -> None:
        """As `flush`, of all that is there now."""
        await asyncio.gather(*(self.flush(making) for making in self._makings))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await within(self._news.wait(), ASK_S)
            self._news.clear()
            makings = list(self._makings)
            if not makings:
                continue
            batch = [making.saving() for making in makings]
            try:
                fenced = await self._save(batch)
            except NotReady:
                await asyncio.sleep(ASK_S)
                self._news.set()
                continue
            async with self._round:
                for making, saving in zip(makings, batch, strict=True):
                    if making.variation in fenced:
                        making.fenced.set()
                    else:
                        making.saved(saving)
                self._round.notify_all()
