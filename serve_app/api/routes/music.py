"""The paths of the API and what each does."""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, Request
from starlette.responses import Response

from deployments.messages import ModelCard, MusicRequest
from deployments.telemetry.metric import NOT_RECORDED, Recorder
from serve_app.api.backends import Backend
from serve_app.api.middleware.disconnects import while_connected
from serve_app.api.music_response import MusicStream, generation_id, music_answer, sound_file
from serve_app.api.requests import caller_of, check_license, model_card, music_request, permit, read_body
from serve_app.api.routes import openapi
from serve_app.api.schemas.music import (
    HealthAnswer,
    IndexAnswer,
    ModelAnswer,
    ModelsAnswer,
    MusicBody,
    ReadyAnswer,
)
from serve_app.api.schemas.parsing import output_format, single_values
from serve_app.api.spool import Gathering
from serve_app.errors import NotReady
from serve_app.pipeline.generation_metrics import CACHE_ANSWERS
from serve_app.settings.application import ApiSettings
from serve_app.sound.containers import ContainerFormat, container_key
from serve_app.telemetry.service_metrics import FIRST_AUDIO


def build_router(backend: Backend, settings: ApiSettings, recorder: Recorder = NOT_RECORDED) -> APIRouter:
    router = APIRouter(redirect_slashes=False)
    gathering = Gathering(settings.max_gathered_bytes)

    async def read(request: Request) -> tuple[ContainerFormat, ModelCard, MusicRequest]:
        """What is asked for. Raises: ServiceError for what can't be read or isn't allowed."""
        container = output_format(single_values(request.query_params, "output_format"))
        body = await read_body(request, MusicBody)
        card = model_card(body, backend.models(), backend.default_model)
        request.state.model = card.name
        asked = music_request(body, card, request.state.request_id, caller_of(request).scope)
        check_license(card)
        await permit(request, asked.prompt, asked.duration_ms / 1000)
        return container, card, asked

    async def kept(
        request: Request, asked: MusicRequest, card: ModelCard, container: ContainerFormat, key: str, began_s: float
    ) -> Response | None:
        """The answer that need not be made: on this way nothing is encoded, and nothing waits but for the store."""
        found = await backend.kept(asked, key) if asked.cache == "use" else None
        if found is None:
            return None
        request.state.generation = generation_id(found.start)
        recorder.add(CACHE_ANSWERS, model=card.name, cache="file")
        response = music_answer(found.file, found.start, asked, card, container)
        response.headers["Server-Timing"] = _timing(total=time.perf_counter() - began_s)
        return response

    @router.post(
        "/v1/music", response_class=Response, responses=openapi.MUSIC_RESPONSES, openapi_extra=openapi.MUSIC_REQUEST
    )
    async def compose_music(request: Request) -> Response:
        """Make music from a text, or answer with what is kept of it. The answer is the sound itself, whole."""
        began_s = time.perf_counter()
        container, card, asked = await read(request)
        key = container_key(container)
        answer = await kept(request, asked, card, container, key, began_s)
        if answer is not None:
            return answer
        composing_s = time.perf_counter()
        composed = await while_connected(backend.compose(asked), request.receive, settings.deadline_s)
        composed_s = time.perf_counter()
        request.state.generation = generation_id(composed.start)
        file = await asyncio.to_thread(sound_file, composed, card, container)
        ended_s = time.perf_counter()
        if asked.cache != "off":
            backend.keep(asked, composed.start, key, file)
        answer = music_answer(file, composed.start, asked, card, container)
        answer.headers["Server-Timing"] = _timing(
            compose=composed_s - composing_s, encode=ended_s - composed_s, total=ended_s - began_s
        )
        return answer

    @router.post(
        "/v1/music/stream",
        response_class=Response,
        responses=openapi.STREAM_RESPONSES,
        openapi_extra=openapi.MUSIC_REQUEST,
    )
    async def stream_music(request: Request) -> Response:
        """Make music from a text, and send the sound while it is made; what is kept of it comes in one piece.

        WAV and PCM are the bytes that /v1/music answers, with their Content-Length. An answer that breaks off, without
        its last chunk or short of its length, is not whole.
        """
        began_s = time.perf_counter()
        container, card, asked = await read(request)
        answer = await kept(request, asked, card, container, container_key(container, streamed=True), began_s)
        if answer is not None:
            recorder.observe(FIRST_AUDIO, time.perf_counter() - began_s, model=card.name, cache="file")
            return answer
        return MusicStream(
            backend,
            asked,
            card,
            container,
            gathering,
            began_s=began_s,
            deadline_s=settings.deadline_s,
            recorder=recorder,
        )

    @router.get("/v1/models", responses=openapi.MODELS_RESPONSES, openapi_extra=openapi.MODELS_REQUEST)
    async def list_models() -> ModelsAnswer:
        """The models on offer, with the licences of their weights."""
        default = backend.default_model
        return ModelsAnswer(models=[ModelAnswer.from_card(card, default) for card in backend.models()])

    @router.get("/health")
    async def health() -> HealthAnswer:
        """Whether the process is alive. It asks nothing of the models: see /ready."""
        return HealthAnswer()

    @router.get("/ready", responses=openapi.READY_RESPONSES)
    async def ready() -> ReadyAnswer:
        """Whether every deployment is up, and music can be made."""
        deployments = dict(await backend.ready())
        down = sorted(name for name, up in deployments.items() if not up)
        if down:
            raise NotReady(f"Not up: {', '.join(down)}.")
        return ReadyAnswer(deployments=deployments)

    @router.get("/")
    async def index() -> IndexAnswer:
        """Where to go from here."""
        return IndexAnswer(documentation="/docs", openapi="/openapi.json", models="/v1/models")

    return router


def _timing(**spent_s: float) -> str:
    """The header Server-Timing: what each step took, in milliseconds."""
    return ", ".join(f"{step};dur={1000 * each_s:.1f}" for step, each_s in spent_s.items())
