"""The routes that make music while the client waits, and the list of models."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import WithJsonSchema
from starlette.responses import Response

from deployments.messages import ModelCard, MusicRequest
from deployments.telemetry.metric import NOT_RECORDED, Recorder
from serve_app.api.backends import Backend
from serve_app.api.middleware.disconnects import while_connected
from serve_app.api.music_response import (
    StreamBufferPool,
    StreamingMusicResponse,
    generation_id,
    music_file_response,
    sound_file,
)
from serve_app.api.requests import caller_of, check_license, model_card, music_request, permit, read_body
from serve_app.api.routes import openapi
from serve_app.api.schemas.music import ModelAnswer, ModelsAnswer, MusicBody
from serve_app.api.schemas.parsing import output_format, single_values
from serve_app.pipeline.generation_metrics import CACHE_ANSWERS
from serve_app.settings.application import HttpSettings
from serve_app.sound.containers import CONTAINER_FORMATS, DEFAULT_FORMAT, ContainerFormat, container_key
from serve_app.telemetry.service_metrics import FIRST_AUDIO

# For the OpenAPI document: it is parsed by `output_format`, more strictly than FastAPI would.
OutputFormat = Annotated[
    str,
    WithJsonSchema({"type": "string", "enum": list(CONTAINER_FORMATS)}),
    Query(
        alias="output_format",
        description="The container of the sound; pcm is raw signed 16-bit little-endian samples.",
    ),
]


def build_music_router(backend: Backend, settings: HttpSettings, recorder: Recorder = NOT_RECORDED) -> APIRouter:
    router = APIRouter(redirect_slashes=False)
    buffers = StreamBufferPool(settings.max_gathered_bytes)

    async def read(request: Request) -> tuple[ContainerFormat, ModelCard, MusicRequest]:
        """The checked request. Raises: ServiceError for what can't be read or isn't allowed."""
        container = output_format(single_values(request.query_params, "output_format"))
        body = await read_body(request, MusicBody)
        card = model_card(body, backend.models(), backend.default_model)
        request.state.model = card.name
        asked = music_request(body, card, request.state.request_id, caller_of(request).scope)
        check_license(card)
        await permit(request, asked.prompt, asked.duration_ms / 1000)
        return container, card, asked

    async def cached(
        request: Request, asked: MusicRequest, card: ModelCard, container: ContainerFormat, key: str, began_s: float
    ) -> Response | None:
        """The answer from the cache, if there is one: nothing is encoded, and it waits for the cache store only."""
        found = await backend.cached(asked, key) if asked.cache == "use" else None
        if found is None:
            return None
        request.state.generation = generation_id(found.start)
        recorder.add(CACHE_ANSWERS, model=card.name, cache="file")
        response = music_file_response(found.file, found.start, asked, card, container)
        response.headers["Server-Timing"] = _timing(total=time.perf_counter() - began_s)
        return response

    @router.post(
        "/v1/music",
        response_class=Response,
        responses=openapi.MUSIC_RESPONSES,
        openapi_extra=openapi.takes_body(MusicBody),
    )
    async def compose_music(request: Request, format_name: OutputFormat = DEFAULT_FORMAT.name) -> Response:
        """Make music from a text, or answer from the cache. The answer is the sound itself, whole."""
        began_s = time.perf_counter()
        container, card, asked = await read(request)
        key = container_key(container)
        answer = await cached(request, asked, card, container, key, began_s)
        if answer is not None:
            return answer
        composing_s = time.perf_counter()
        composed = await while_connected(backend.compose(asked), request.receive, settings.deadline_s)
        composed_s = time.perf_counter()
        request.state.generation = generation_id(composed.start)
        file = await asyncio.to_thread(sound_file, composed, card, container)
        ended_s = time.perf_counter()
        if asked.cache != "off":
            backend.store(asked, composed.start, key, file)
        answer = music_file_response(file, composed.start, asked, card, container)
        answer.headers["Server-Timing"] = _timing(
            compose=composed_s - composing_s, encode=ended_s - composed_s, total=ended_s - began_s
        )
        return answer

    @router.post(
        "/v1/music/stream",
        response_class=Response,
        responses=openapi.STREAM_RESPONSES,
        openapi_extra=openapi.takes_body(MusicBody),
    )
    async def stream_music(request: Request, format_name: OutputFormat = DEFAULT_FORMAT.name) -> Response:
        """Make music from a text, and send the sound while it is made; a cached file comes in one piece.

        WAV and PCM are the bytes that /v1/music answers, with their Content-Length. An answer that breaks off, without
        its last chunk or short of its length, is not whole.
        """
        began_s = time.perf_counter()
        container, card, asked = await read(request)
        answer = await cached(request, asked, card, container, container_key(container, streamed=True), began_s)
        if answer is not None:
            recorder.observe(FIRST_AUDIO, time.perf_counter() - began_s, model=card.name, cache="file")
            return answer
        return StreamingMusicResponse(
            backend,
            asked,
            card,
            container,
            buffers,
            began_s=began_s,
            deadline_s=settings.deadline_s,
            recorder=recorder,
        )

    @router.get("/v1/models", responses=openapi.MODELS_RESPONSES)
    async def list_models() -> ModelsAnswer:
        """The models on offer, with the licences of their weights."""
        default = backend.default_model
        return ModelsAnswer(models=[ModelAnswer.from_card(card, default) for card in backend.models()])

    return router


def _timing(**spent_s: float) -> str:
    """The header Server-Timing: what each step took, in milliseconds."""
    return ", ".join(f"{step};dur={1000 * each_s:.1f}" for step, each_s in spent_s.items())
