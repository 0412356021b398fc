"""The pipeline: one request's way from words to codes. `sound.py` has the rest of the way.

    kept?  →  under way?  →  text → codes, in a generation that all join who ask the same

Leaving early closes a listener's place; the last to leave frees the language model's slot.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

import numpy as np

from deployments.codec_decoder.windows import num_frames
from deployments.language_model.errors import OtherEngine
from deployments.messages import (
    Beat,
    CodeFrames,
    EngineIdentity,
    GenerationStart,
    MusicRequest,
    QueueClass,
    Resumption,
)
from deployments.telemetry.metric import NOT_RECORDED, Recorder
from serve_app.cache.cache import Cache, drawn_seed
from serve_app.database.leases import Leases
from serve_app.errors import NotReady
from serve_app.pipeline.finder import Finder, Found
from serve_app.pipeline.model_request import Asked, Model
from serve_app.pipeline.running import Generations
from serve_app.pipeline.subscribers import BEAT_S
from serve_app.scaling.policy import Waiting

# Engines of several kinds in one deployment would send a request to and fro.
_MAX_KINDS = 5


class EngineGone(Exception):
    """No engine of the kind that began this clip is left; one of another kind would end it with other codes."""


class Pipeline:
    """leases: shared by all replicas that have the cache in common. draw: a random seed. recorder: of what becomes of
    generations, and where music came from.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        cache: Cache,
        leases: Leases,
        *,
        draw: Callable[[], int] = drawn_seed,
        recorder: Recorder = NOT_RECORDED,
    ) -> None:
        self._models = models
        self._generations = Generations(cache, leases, recorder=recorder)
        self._finder = Finder(cache, leases, self._generations, draw, recorder=recorder)
        self._identities: dict[tuple[str, QueueClass], EngineIdentity] = {}

    async def identity(self, model: str, queue: QueueClass) -> EngineIdentity:
        """Of the model's engines of that queue class, as far as is known here."""
        if (model, queue) not in self._identities:
            self._identities[model, queue] = await self._models[model].stages.identity(queue)
        return self._identities[model, queue]

    async def listen(
        self, request: MusicRequest, resumption: Resumption | None = None
    ) -> AsyncGenerator[GenerationStart | CodeFrames | Beat, None]:
        """A Beat at once, and every second without anything else; then the start, and frames as they are there.

        resumption: where a listener stands who has lost another pipeline; the frames are those from there on.
        Raises: what a generation fails with; LeaseLost; EngineGone; NotReady.
        """
        started = resumption is not None
        for _ in range(_MAX_KINDS):
            try:
                async with aclosing(self._listen(request, resumption)) as items:
                    async for item in items:
                        started = started or not isinstance(item, Beat)
                        yield item
                return
            except OtherEngine as error:
                self._identities[request.model, request.queue] = error.identity
                if started:
                    raise EngineGone("No worker of the kind that began this clip is left.") from error
        raise NotReady("The model's workers are of several kinds just now; try again in a moment.")

    def load(self) -> int:
        """Generations under way. Raises: AssertionError where something is left of those that have ended."""
        self._finder.check_integrity()
        return len(self._generations)

    def waiting(self) -> Mapping[tuple[str, QueueClass], Waiting]:
        """Generations that no engine has taken in, by model and queue class."""
        return self._generations.waiting()

    async def settled(self) -> None:
        """Returns when no generation is under way, and what they made is kept."""
        await self._generations.settled()

    async def _listen(
        self, request: MusicRequest, resumption: Resumption | None
    ) -> AsyncGenerator[GenerationStart | CodeFrames | Beat, None]:
        finding = asyncio.create_task(self._find(request, resumption))
        try:
            while not finding.done():
                yield Beat(running=False)
                await asyncio.wait({finding}, timeout=BEAT_S)
            asked, found = finding.result()
            at = 0 if resumption is None else resumption.codes.shape[1]
            async for item in _items(asked, found, at):
                yield item
        finally:
            finding.cancel()
            await asyncio.gather(finding, return_exceptions=True)
            if not finding.cancelled() and finding.exception() is None:
                finding.result()[1].close()

    async def _find(self, request: MusicRequest, resumption: Resumption | None) -> tuple[Asked, Found]:
        model = self._models[request.model]
        sound = await model.stages.sound_format()
        identity = (
            await self.identity(request.model, request.queue) if resumption is None else resumption.start.identity
        )
        frames = num_frames(request.duration_ms, sound.frame_rate)
        asked = Asked(request, model, identity, frames, resumption)
        return asked, await self._finder.find(asked)


async def _items(asked: Asked, found: Found, at: int) -> AsyncGenerator[GenerationStart | CodeFrames | Beat, None]:
    """The start, once the first frames are there, and the frames from `at` on."""
    digest = found.key.digest
    if isinstance(found.source, np.ndarray):
        yield GenerationStart(digest, found.seed, found.outcome, asked.identity, found.age_s)
        yield CodeFrames(digest, at, found.source[:, at:], True)
        return
    started = False
    async with aclosing(found.source.listen(at)) as items:
        async for item in items:
            if not started and isinstance(item, CodeFrames):
                started = True
                states = found.source.text_states
                yield GenerationStart(digest, found.seed, found.outcome, asked.identity, text_states=states)
            yield item
