"""The pipeline: from a request to its codes. `serve_app.sound` makes sound of them.

    cached?  →  running?  →  text → codes, in one generation for all equal requests

Closing a stream early ends its subscription; the last one to end frees the language model's slot.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

import numpy as np

from deployments.codec_decoder.windows import num_frames
from deployments.language_model.errors import EngineMismatch
from deployments.liveness.timings import TIMINGS
from deployments.messages import (
    CodeFrames,
    EngineIdentity,
    GenerationStart,
    Heartbeat,
    MusicRequest,
    QueueClass,
    Resumption,
)
from deployments.telemetry.metric import NOT_RECORDED, Recorder
from serve_app.cache.cache import Cache, drawn_seed
from serve_app.database.leases import Leases
from serve_app.errors import NotReady
from serve_app.pipeline.finder import CodesFinder, FoundCodes, PipelineModel, PipelineRequest
from serve_app.pipeline.running_generations import RunningGenerations
from serve_app.scaling.policy import Waiting

# With engines of several kinds in one deployment, a request would go to and fro without end.
_MAX_KINDS = 5


class EngineGone(Exception):
    """No engine of the kind that began this clip is left; one of another kind would go on with other codes."""


class Pipeline:
    """Turns requests into streams of codes.

    Args:
        models: by name.
        cache: of codes.
        leases: shared by all replicas that use the same cache.
        draw: draws a seed.
        recorder: of the metrics.
    """

    def __init__(
        self,
        models: Mapping[str, PipelineModel],
        cache: Cache,
        leases: Leases,
        *,
        draw: Callable[[], int] = drawn_seed,
        recorder: Recorder = NOT_RECORDED,
    ) -> None:
        self._models = models
        self._generations = RunningGenerations(cache, leases, recorder=recorder)
        self._finder = CodesFinder(cache, leases, self._generations, draw, recorder=recorder)
        self._identities: dict[tuple[str, QueueClass], EngineIdentity] = {}

    async def identity(self, model: str, queue: QueueClass) -> EngineIdentity:
        """The identity of the model's engines of that queue class, as last seen here."""
        if (model, queue) not in self._identities:
            self._identities[model, queue] = await self._models[model].stages.identity(queue)
        return self._identities[model, queue]

    async def stream(
        self, request: MusicRequest, resumption: Resumption | None = None
    ) -> AsyncGenerator[GenerationStart | CodeFrames | Heartbeat, None]:
        """Yields the start of the generation, and then its frames as soon as they exist.

        A heartbeat comes at once, and then every second without anything else.

        Args:
            request: checked and canonical.
            resumption: what the caller has received from a pipeline replica that it lost; the stream starts after it.

        Raises: what a generation fails with; LeaseLost; EngineGone; NotReady.
        """
        started = resumption is not None
        for _ in range(_MAX_KINDS):
            try:
                async with aclosing(self._stream(request, resumption)) as items:
                    async for item in items:
                        started = started or not isinstance(item, Heartbeat)
                        yield item
                return
            except EngineMismatch as error:
                self._identities[request.model, request.queue] = error.identity
                if started:
                    raise EngineGone("No worker of the kind that began this clip is left.") from error
        raise NotReady("The model's workers are of several kinds just now; try again in a moment.")

    def load(self) -> int:
        """Running generations. Raises: AssertionError where one that has ended left something behind."""
        self._finder.check_integrity()
        return len(self._generations)

    def waiting(self) -> Mapping[tuple[str, QueueClass], Waiting]:
        """Generations that no engine has accepted yet, by model and queue class."""
        return self._generations.waiting()

    async def settled(self) -> None:
        """Returns when no generation runs, and what they made is cached."""
        await self._generations.settled()

    async def _stream(
        self, request: MusicRequest, resumption: Resumption | None
    ) -> AsyncGenerator[GenerationStart | CodeFrames | Heartbeat, None]:
        finding = asyncio.create_task(self._find(request, resumption))
        try:
            while not finding.done():
                yield Heartbeat(running=False)
                await asyncio.wait({finding}, timeout=TIMINGS.heartbeat_s)
            wanted, found = finding.result()
            at = 0 if resumption is None else resumption.codes.shape[1]
            async for item in _items(wanted, found, at):
                yield item
        finally:
            finding.cancel()
            await asyncio.gather(finding, return_exceptions=True)
            if not finding.cancelled() and finding.exception() is None:
                finding.result()[1].close()

    async def _find(self, request: MusicRequest, resumption: Resumption | None) -> tuple[PipelineRequest, FoundCodes]:
        model = self._models[request.model]
        sound = await model.stages.sound_format()
        identity = (
            await self.identity(request.model, request.queue) if resumption is None else resumption.start.identity
        )
        frames = num_frames(request.duration_ms, sound.frame_rate)
        wanted = PipelineRequest(request, model, identity, frames, resumption)
        return wanted, await self._finder.find(wanted)


async def _items(
    wanted: PipelineRequest, found: FoundCodes, at: int
) -> AsyncGenerator[GenerationStart | CodeFrames | Heartbeat, None]:
    """Yields the start, once the first frames exist, and the frames from `at` on."""
    digest = found.key.digest
    if isinstance(found.source, np.ndarray):
        yield GenerationStart(digest, found.seed, found.outcome, wanted.identity, found.age_s)
        yield CodeFrames(digest, at, found.source[:, at:], True)
        return
    started = False
    async with aclosing(found.source.stream(at)) as items:
        async for item in items:
            if not started and isinstance(item, CodeFrames):
                started = True
                states = found.source.text_states
                yield GenerationStart(digest, found.seed, found.outcome, wanted.identity, text_states=states)
            yield item
