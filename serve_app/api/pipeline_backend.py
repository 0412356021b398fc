"""The backend of the service: codes come from the pipeline, and codecs decode them as the client takes the sound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Protocol

from deployments.liveness.stalls import within
from deployments.liveness.timings import TIMINGS
from deployments.messages import (
    CodeFrames,
    EngineIdentity,
    GenerationStart,
    ModelCard,
    MusicRequest,
    PcmChunk,
    QueueClass,
    Resumption,
    SoundFormat,
)
from serve_app.api.backends import CachedFile, ComposedMusic, SoundFile, StreamedMusic
from serve_app.api.finished_files import FileCache
from serve_app.errors import Gone, NotReady
from serve_app.job import SoundHealth
from serve_app.pipeline.pipeline import EngineGone
from serve_app.sound.health_reports import UNRECORDED, SoundRecorder, made_new_music, measure_health, report_health
from serve_app.sound.resuming import PipelineItem, PipelineLost, stream_with_failover
from serve_app.sound.windows import CachingCodec, Codec, WindowCache, collect_clip, decode_stream

_MAX_TRIES = 3


class PipelineClient(Protocol):
    """The pipeline's replicas. The same affinity leads to the same replica, while their number stays the same."""

    def codes(
        self, request: MusicRequest, resumption: Resumption | None, affinity: str
    ) -> AsyncGenerator[PipelineItem, None]:
        """As `Pipeline.stream`. Raises also: PipelineLost."""
        ...

    async def identity(self, model: str, queue: QueueClass, affinity: str) -> EngineIdentity:
        """As `Pipeline.identity`. Raises: PipelineLost."""
        ...

    async def ready(self) -> Mapping[str, bool]:
        """As `Backend.ready`."""
        ...


class SoundCodec(Codec, Protocol):
    async def sound_format(self) -> SoundFormat: ...


class PipelineBackend:
    """A backend over the pipeline's replicas.

    Args:
        codecs: by model.
        lease_s: of the pipelines' leases.
        lazy: models whose engines are not started to learn their identity.
        recorder: of the health of the clips that are made for waiting clients.
    """

    def __init__(
        self,
        pipeline: PipelineClient,
        codecs: Mapping[str, SoundCodec],
        cards: Sequence[ModelCard],
        default_model: str,
        sounds: FileCache,
        lease_s: float,
        *,
        lazy: Collection[str] = (),
        recorder: SoundRecorder = UNRECORDED,
    ) -> None:
        self.default_model = default_model
        self._pipeline = pipeline
        self._codecs = codecs
        self._cards = list(cards)
        self._sounds = sounds
        self._lazy = frozenset(lazy)
        self._recorder = recorder
        self._silence_s = lease_s + TIMINGS.pipeline_first_sign_s
        self._windows = WindowCache()
        self._identities: dict[tuple[str, QueueClass], EngineIdentity] = {}

    def models(self) -> Sequence[ModelCard]:
        return self._cards

    async def cached(self, request: MusicRequest, container: str) -> CachedFile | None:
        identity = self._identities.get(
            (request.model, request.queue)
        )  # not known yet: a cache lookup waits for no engine
        return None if identity is None else await self._sounds.find(request, identity, container)

    async def compose(self, request: MusicRequest) -> ComposedMusic:
        for _ in range(_MAX_TRIES):
            music = await self.stream(request)
            try:
                async with aclosing(music.chunks) as chunks:
                    return ComposedMusic(music.start, await collect_clip(chunks))
            except EngineGone:
                continue  # nothing was sent yet, so engines with other numerics may start over
        raise NotReady("The model's workers change just now; try again in a moment.")

    async def cached_file(self, request: MusicRequest, start: GenerationStart, container: str) -> SoundFile | None:
        return await self._sounds.find_generation(request, start, container)

    async def decode(self, request: MusicRequest, made: Resumption) -> ComposedMusic:
        async with aclosing(await self._decoded(request, made)) as chunks:
            return ComposedMusic(made.start, await collect_clip(chunks))

    async def sound_health(self, request: MusicRequest, made: Resumption) -> SoundHealth:
        """The sound health of codes, decoded window by window. Raises: as `decode`."""
        found: list[SoundHealth] = []
        async with aclosing(measure_health(await self._decoded(request, made), found.append)) as chunks:
            async for _ in chunks:
                pass
        return found[0]

    async def frames(
        self, request: MusicRequest, resumption: Resumption | None = None
    ) -> AsyncGenerator[GenerationStart | CodeFrames, None]:
        """The start and then the codes, each frame once, whichever pipelines are lost; after a resumption those that
        follow it. Closing it gives the engine's row up. Raises: as `stream_with_failover`.
        """
        affinity = self._sounds.affinity(request, await self._identity(request.model, request.queue))

        def call(attempt: int, resumption: Resumption | None) -> AsyncGenerator[PipelineItem, None]:
            return self._pipeline.codes(request, resumption, f"{affinity}~{attempt}" if attempt else affinity)

        async with aclosing(
            stream_with_failover(call, self._silence_s, resumption, request_id=request.request_id)
        ) as items:
            async for item in items:
                if isinstance(item, GenerationStart):
                    self._identities[request.model, request.queue] = item.identity
                yield item

    async def stream(self, request: MusicRequest) -> StreamedMusic:
        codec = self._codecs[request.model]
        sound = await codec.sound_format()
        items = self.frames(request)
        try:
            start = await anext(items)
            assert isinstance(start, GenerationStart), "the start comes before the frames"
        except BaseException:
            await items.aclose()
            raise
        shared = CachingCodec(codec, self._windows, start.key)
        chunks = decode_stream(_frames(items), request, sound, shared)
        if made_new_music(start):
            chunks = measure_health(chunks, partial(report_health, self._recorder, request, start))
        return StreamedMusic(start, _Chunks(chunks, items))

    def store(self, request: MusicRequest, start: GenerationStart, container: str, file: SoundFile) -> None:
        self._sounds.store(request, start, container, file)

    async def ready(self) -> Mapping[str, bool]:
        return await self._pipeline.ready()

    async def complete_cards(self) -> None:
        """Learns the sound format and the engines' identity of each model, as they start."""
        names = list(self._codecs)
        sounds = dict(zip(names, await asyncio.gather(*(self._codecs[n].sound_format() for n in names)), strict=True))
        self._cards = [replace(card, sound=sounds.get(card.name)) for card in self._cards]
        await asyncio.gather(*(self._identity(name, "realtime") for name in names if name not in self._lazy))

    async def _decoded(self, request: MusicRequest, made: Resumption) -> AsyncGenerator[PcmChunk, None]:
        """Raises: Gone."""
        codec = self._codecs[request.model]
        if made.start.identity.fingerprint != await self._fingerprint(request.model):
            raise Gone("The model that made these codes is no longer here to decode them; ask for the music again.")
        shared = CachingCodec(codec, self._windows, made.start.key)
        return decode_stream(_at_once(made), request, await codec.sound_format(), shared)

    async def _fingerprint(self, model: str) -> str:
        """Of the model's checkpoint, which is the same for all its engines."""
        known = [identity for (name, _), identity in self._identities.items() if name == model]
        return (known[0] if known else await self._identity(model, "realtime")).fingerprint

    async def _identity(self, model: str, queue: QueueClass) -> EngineIdentity:
        attempt = 0
        while (model, queue) not in self._identities:
            # An unresponsive or lost replica is left for another; where the model has not started, every call waits.
            try:
                call = self._pipeline.identity(model, queue, f"{model}~{attempt}")
                self._identities[model, queue] = await within(call, TIMINGS.pipeline_first_sign_s)
            except (PipelineLost, asyncio.TimeoutError):
                attempt += 1
        return self._identities[model, queue]


async def _at_once(made: Resumption) -> AsyncGenerator[CodeFrames, None]:
    yield CodeFrames(made.start.key, 0, made.codes, True)


async def _frames(items: AsyncGenerator[GenerationStart | CodeFrames, None]) -> AsyncGenerator[CodeFrames, None]:
    async for item in items:
        assert isinstance(item, CodeFrames), "there is one start"
        yield item


class _Chunks(AsyncGenerator[PcmChunk, None]):
    """Chunks that also close their source where the first chunk was never read."""

    def __init__(self, chunks: AsyncGenerator[PcmChunk, None], source: AsyncGenerator[Any, None]) -> None:
        self._chunks = chunks
        self._source = source

    async def asend(self, value: None) -> PcmChunk:
        return await self._chunks.asend(value)

    async def athrow(
        self,
        kind: type[BaseException] | BaseException,
        value: BaseException | object = None,
        traceback: TracebackType | None = None,
    ) -> PcmChunk:
        return await self._chunks.athrow(kind, value, traceback)  # type: ignore[arg-type]

    async def aclose(self) -> None:
        try:
            await self._chunks.aclose()
        finally:
            await self._source.aclose()
