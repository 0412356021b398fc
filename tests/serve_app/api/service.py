"""A service over a backend of a few lines, and ways to talk to it within the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI

from deployments.messages import Clip, ModelCard, MusicRequest, PcmChunk, SoundFormat
from serve_app.api.app import create_app
from serve_app.api.settings import ApiSettings

SAMPLE_RATE = 32_000
CARDS = (
    ModelCard("etude", "etude/checkpoint", None, "MIT", 30_000, SoundFormat(SAMPLE_RATE, 1, 50, 4)),
    ModelCard("small", "facebook/musicgen-small", "abc123", "CC-BY-NC-4.0", 20_000),
)


class SineBackend:
    """Answers with a tone whose pitch is the seed's; `compose_with` replaces that by any other behaviour."""

    def __init__(self, compose_with: Callable[[MusicRequest], Awaitable[Clip]] | None = None) -> None:
        self.compose_with = compose_with
        self.requests: list[MusicRequest] = []
        self.cards: Sequence[ModelCard] = CARDS
        self.deployments = {"text_encoder": True, "language_model": True, "codec_decoder": True}

    default_model = "etude"

    def models(self) -> Sequence[ModelCard]:
        return self.cards

    async def ready(self) -> Mapping[str, bool]:
        return self.deployments

    async def compose(self, request: MusicRequest) -> Clip:
        self.requests.append(request)
        if self.compose_with is not None:
            return await self.compose_with(request)
        return sine(request)

    async def stream(self, request: MusicRequest) -> AsyncGenerator[PcmChunk, None]:
        """The same clip, in pieces of half a second."""
        clip = await self.compose(request)
        for pcm in np.split(clip.pcm, range(SAMPLE_RATE // 2, clip.pcm.shape[1], SAMPLE_RATE // 2), axis=1):
            yield PcmChunk(pcm, clip.sample_rate, np.zeros((4, 2), np.int16))


def sine(request: MusicRequest) -> Clip:
    num_samples = request.duration_ms * SAMPLE_RATE // 1000
    pitch_hz = 200 + request.seed % 1000
    pcm = 0.5 * np.sin(2 * np.pi * pitch_hz * np.arange(num_samples) / SAMPLE_RATE)
    return Clip(pcm.astype(np.float32)[None], SAMPLE_RATE, np.zeros((4, 1), np.int16))


def service(backend: SineBackend | None = None, **settings: Any) -> FastAPI:
    return create_app(backend or SineBackend(), ApiSettings(**settings))


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
