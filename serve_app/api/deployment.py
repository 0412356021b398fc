"""The ingress as a Ray Serve deployment: the HTTP application over the pipeline's and the codecs' handles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from fastapi import FastAPI
from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle

from deployments.messages import Clip, CodeFrames, ModelCard, MusicRequest, PcmChunk
from serve_app.api.app import create_app
from serve_app.api.errors import NotReady
from serve_app.api.settings import ApiSettings
from serve_app.pipeline.deployment import CodecHandle
from serve_app.pipeline.sound import sound_of, whole

READY_TIMEOUT_S = 5.0


class PipelineBackend:
    """The pipeline as the API sees it: codes come from the pipeline, and sound from the codecs as it is taken."""

    def __init__(
        self,
        pipeline: DeploymentHandle,
        codecs: Mapping[str, DeploymentHandle],
        cards: Sequence[ModelCard],
        default_model: str,
    ) -> None:
        self.default_model = default_model
        self._pipeline = pipeline
        self._codecs = {model: CodecHandle(handle) for model, handle in codecs.items()}
        self._cards = list(cards)

    def models(self) -> Sequence[ModelCard]:
        return self._cards

    async def stream(self, request: MusicRequest) -> AsyncGenerator[PcmChunk, None]:
        codec = self._codecs[request.model]
        try:
            sound = await codec.sound_format()
            async with aclosing(sound_of(self._codes(request), request, sound, codec)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except RayActorError as error:
            raise NotReady("A worker was lost while it made this clip; try again.") from error

    async def compose(self, request: MusicRequest) -> Clip:
        async with aclosing(self.stream(request)) as chunks:
            return await whole(chunks)

    async def ready(self) -> Mapping[str, bool]:
        try:
            up = await asyncio.wait_for(self._pipeline.ready.remote(), READY_TIMEOUT_S)
        except (asyncio.TimeoutError, RayActorError):
            return {self._pipeline.deployment_name: False}
        return {self._pipeline.deployment_name: True, **up}

    async def complete_cards(self) -> None:
        """Learns how each model sounds, once all are up."""
        sounds = await asyncio.gather(*(self._codecs[card.name].sound_format() for card in self._cards))
        self._cards = [replace(card, sound=sound) for card, sound in zip(self._cards, sounds, strict=True)]

    async def _codes(self, request: MusicRequest) -> AsyncGenerator[CodeFrames, None]:
        stream = self._pipeline.options(stream=True).codes.remote(request)
        try:
            async for frames in stream:
                yield frames
        finally:
            stream.cancel()  # frees what the request still holds; of no effect on a stream that has ended


class IngressDeployment:
    """codecs: by model, its codec decoder. cards: of the models on offer.

    It answers `/health` and `/ready` while the models still load.
    """

    def __init__(
        self,
        pipeline: DeploymentHandle,
        codecs: Mapping[str, DeploymentHandle],
        cards: Sequence[ModelCard],
        default_model: str,
        settings: ApiSettings,
    ) -> None:
        self._backend = PipelineBackend(pipeline, codecs, cards, default_model)
        self._settings = settings

    def __serve_build_asgi_app__(self) -> FastAPI:
        self._completing = asyncio.get_running_loop().create_task(self._backend.complete_cards())
        return create_app(self._backend, self._settings, behind_serve=True)
