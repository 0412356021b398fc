"""What the OpenAPI document says beyond what FastAPI reads off the routes.

The routes read their input themselves, more strictly than FastAPI would, so this is where it is written down.
"""

from __future__ import annotations

from typing import Any, get_args

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from deployments.messages import Outcome
from serve_app.api import errors, request_id
from serve_app.api.backend import Backend
from serve_app.api.errors import ServiceError
from serve_app.api.schemas import ErrorAnswer, MusicBody
from serve_app.audio.containers import CONTAINER_FORMATS, DEFAULT_FORMAT


def _header(description: str, kind: str = "string", **schema: object) -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind, **schema}}


_REQUEST_ID_HEADER = {
    request_id.HEADER: _header("Names the request in the service's log", pattern=f"^{request_id.PATTERN}$")
}
_RETRY_AFTER_HEADER = {"Retry-After": _header("Seconds to wait before another try", "integer", minimum=0)}


def _faults(*kinds: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses` for these errors; a class' docstring describes it; those of one status stand together."""
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        retried = _RETRY_AFTER_HEADER if kind in (errors.TooBusy, errors.NotReady) else {}
        response = responses.setdefault(
            kind.status, {"model": ErrorAnswer, "headers": {**_REQUEST_ID_HEADER, **retried}}
        )
        descriptions = [response["description"]] if "description" in response else []
        response["description"] = "\n\n".join([*descriptions, f"`{kind.type}`: {kind.__doc__}"])
    return responses


READY_RESPONSES = _faults(errors.NotReady)

MUSIC_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The sound, in the container asked for",
        "content": {
            container.media_type: {"schema": {"type": "string", "format": "binary"}}
            for container in CONTAINER_FORMATS.values()
        },
        "headers": {
            **_REQUEST_ID_HEADER,
            "Content-Disposition": _header("A name for the file"),
            "X-Generation-Id": _header(
                "Names the music: the same for the same request and seed, however long", pattern="^[0-9a-f]{32}$"
            ),
            "X-Seed": _header("The seed used: send it with the same body to get the same sound", "integer", minimum=0),
            "X-Duration-Ms": _header("The length of the sound in milliseconds", "integer", minimum=0),
            "X-Sample-Rate": _header("Samples a second", "integer", minimum=1),
            "X-Channels": _header("Channels, interleaved in pcm", "integer", minimum=1),
            "X-Model": _header("The model that made it"),
            "X-Model-License": _header("The licence of the model's weights"),
            "X-Cache": _header(
                "Where the music came from. hit: it was kept; joined: it was being made for another request; "
                "miss: it was made; cut: it is the beginning of longer music that was kept; extended: its beginning "
                "was kept, and the rest was made. The same music is the same bytes, whichever it was",
                enum=list(get_args(Outcome)),
            ),
            "Age": _header("How many seconds ago it was made, for hit and cut", "integer", minimum=0),
            "Server-Timing": _header("Milliseconds spent on each step"),
        },
    },
    **_faults(
        errors.MalformedRequest,
        errors.RequestTimeout,
        errors.PayloadTooLarge,
        errors.UnsupportedMediaType,
        errors.InvalidRequest,
        errors.TooBusy,
        errors.Internal,
        errors.WorkerLostTwice,
        errors.NotReady,
        errors.DeadlineExceeded,
    ),
}

_SOUND = MUSIC_RESPONSES[200]
STREAM_RESPONSES: dict[int | str, dict[str, Any]] = {
    **MUSIC_RESPONSES,
    200: {
        **_SOUND,
        "description": "The sound, in the container asked for, sent while it is made",
        "headers": {
            **_SOUND["headers"],
            "Server-Timing": _header("Milliseconds until the first sound"),
            "Content-Length": _header("The size of the whole, for wav and pcm, and what is kept", "integer", minimum=0),
        },
    },
}

MUSIC_REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/MusicBody"}}},
    },
    "parameters": [
        {
            "name": "output_format",
            "in": "query",
            "description": "The container of the sound; pcm is raw signed 16-bit little-endian samples.",
            "schema": {"type": "string", "enum": list(CONTAINER_FORMATS), "default": DEFAULT_FORMAT.name},
        },
        {
            "name": request_id.HEADER,
            "in": "header",
            "description": f"A name for the request, {request_id.PATTERN}; for anything else one is drawn.",
            "schema": {"type": "string"},
        },
    ],
}


def describe(app: FastAPI, backend: Backend) -> dict[str, Any]:
    """The OpenAPI document of the app, with the models that the backend has."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        routes=app.routes,
        openapi_version=app.openapi_version,
    )
    body = MusicBody.model_json_schema()
    cards = backend.models()
    body["properties"]["music_length_ms"]["maximum"] = max(card.max_duration_ms for card in cards)
    body["properties"]["model_id"]["anyOf"][0]["enum"] = [card.name for card in cards]
    document["components"]["schemas"]["MusicBody"] = body
    return document
