"""A service over a backend of a few lines, and ways to talk to it within the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI

from deployments.messages import (
    Clip,
    EngineIdentity,
    GenerationStart,
    ModelCard,
    MusicRequest,
    Outcome,
    PcmChunk,
    SoundFormat,
)
from serve_app.api.app import create_app
from serve_app.api.backends import CachedFile, ComposedMusic, SoundFile, StreamedMusic
from serve_app.cache.cache import drawn_seed
from serve_app.cache.decision import decide, known_seed
from serve_app.cache.keys import GenerationRequest, ModelIdentity, alias_key, generation_key
from serve_app.settings.application import HttpSettings

SAMPLE_RATE = 32_000
AGE_S = 12
IDENTITY = EngineIdentity(fingerprint="sine", numerics="none", vocab_size=2048)
CARDS = (
    ModelCard("etude", "etude/checkpoint", None, "MIT", 30_000, SoundFormat(SAMPLE_RATE, 1, 50, 4)),
    ModelCard("small", "facebook/musicgen-small", "abc123", "CC-BY-NC-4.0", 20_000),
)


class SineBackend:
    """Answers with a tone whose pitch is the seed's, and keeps generations and files by the real rules, in memory.

    compose_with: takes the place of the tone. outcome: what every clip that is made claims of itself, if given.
    open_takes: how many are not closed.
    """

    default_model = "etude"

    def __init__(
        self, compose_with: Callable[[MusicRequest], Awaitable[Clip]] | None = None, outcome: Outcome | None = None
    ) -> None:
        self.compose_with = compose_with
        self.outcome = outcome
        self.requests: list[MusicRequest] = []
        self.open_takes = 0
        self.files: dict[tuple[str, int, str], SoundFile] = {}
        self.lengths_ms: dict[str, int] = {}
        self.seeds: dict[str, int] = {}
        self.cards: Sequence[ModelCard] = CARDS
        self.deployments = {"text_encoder": True, "language_model": True, "codec_decoder": True}

    def models(self) -> Sequence[ModelCard]:
        return self.cards

    async def ready(self) -> Mapping[str, bool]:
        return self.deployments

    async def cached(self, request: MusicRequest, container: str) -> CachedFile | None:
        assert request.cache == "use"
        asked = self._asked(request)
        seed = known_seed("use", request.seed, self.seeds.get(alias_key(asked).digest))
        key = None if seed is None else generation_key(asked, seed).digest
        if seed is None or key is None or (key, request.duration_ms, container) not in self.files:
            return None
        file = self.files[key, request.duration_ms, container]
        return CachedFile(GenerationStart(key, seed, "hit", IDENTITY, AGE_S), file)

    async def compose(self, request: MusicRequest) -> ComposedMusic:
        self.requests.append(request)
        start = self._start(request)
        request = replace(request, seed=start.seed)
        return ComposedMusic(start, sine(request) if self.compose_with is None else await self.compose_with(request))

    async def stream(self, request: MusicRequest) -> StreamedMusic:
        composed = await self.compose(request)
        return StreamedMusic(composed.start, self._counted(self.chunks(composed.clip)))

    async def chunks(self, clip: Clip) -> AsyncGenerator[PcmChunk, None]:
        """The clip in pieces of half a second."""
        for pcm in np.split(clip.pcm, range(SAMPLE_RATE // 2, clip.pcm.shape[1], SAMPLE_RATE // 2), axis=1):
            yield PcmChunk(pcm, clip.sample_rate, np.zeros((4, 2), np.int16))

    def store(self, request: MusicRequest, start: GenerationStart, container: str, file: SoundFile) -> None:
        assert request.cache != "off"
        self.files[start.key, request.duration_ms, container] = file

    async def _counted(self, chunks: AsyncGenerator[PcmChunk, None]) -> AsyncGenerator[PcmChunk, None]:
        self.open_takes += 1
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk
        finally:
            self.open_takes -= 1

    def _asked(self, request: MusicRequest) -> GenerationRequest:
        [card] = (card for card in self.cards if card.name == request.model)
        model = ModelIdentity(card.name, card.revision or card.source, IDENTITY.numerics, IDENTITY.vocab_size)
        return GenerationRequest("", model, request.prompt, request.sampling)

    def _start(self, request: MusicRequest) -> GenerationStart:
        """A millisecond stands for a frame."""
        asked = self._asked(request)
        alias = alias_key(asked).digest
        known = known_seed(request.cache, request.seed, self.seeds.get(alias))
        kept_ms = 0 if known is None else self.lengths_ms.get(generation_key(asked, known).digest, 0)
        decision = decide(request.cache, known, num_frames=request.duration_ms, frames_kept=kept_ms, draw=drawn_seed)
        key = generation_key(asked, decision.seed).digest
        if decision.writes_codes:
            self.lengths_ms[key] = request.duration_ms
        if decision.writes_alias:
            self.seeds[alias] = decision.seed
        outcome = self.outcome or decision.outcome
        age_s = AGE_S if outcome in ("hit", "cut") else None
        return GenerationStart(key, decision.seed, outcome, IDENTITY, age_s)


def sine(request: MusicRequest) -> Clip:
    """request.seed: given."""
    assert request.seed is not None
    num_samples = request.duration_ms * SAMPLE_RATE // 1000
    pitch_hz = 200 + request.seed % 1000
    pcm = 0.5 * np.sin(2 * np.pi * pitch_hz * np.arange(num_samples) / SAMPLE_RATE)
    return Clip(pcm.astype(np.float32)[None], SAMPLE_RATE, np.zeros((4, 1), np.int16))


def service(backend: SineBackend | None = None, **settings: Any) -> FastAPI:
    return create_app(backend or SineBackend(), HttpSettings(**settings))


async def ask(app: FastAPI, method: str, path: str, **request: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        return await client.request(method, path, **request)


def call(app: FastAPI, method: str, path: str, **request: Any) -> httpx.Response:
    return asyncio.run(ask(app, method, path, **request))


def compose(app: FastAPI, query: str = "", **body: Any) -> httpx.Response:
    return call(app, "POST", f"/v1/music{query}", json={"prompt": "a tone", "music_length_ms": 100, **body})


def fault(response: httpx.Response) -> dict[str, Any]:
    """The error of an answer that must be one, its shape checked."""
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    document = response.json()
    assert list(document) == ["error"]
    error = document["error"]
    assert list(error) == ["type", "message", "param"]
    assert isinstance(error["message"], str)
    assert error["param"] is None or isinstance(error["param"], str)
    assert error["message"]
    return dict(error)
