"""What the OpenAPI document says beyond what FastAPI reads off the routes.

The routes read their input themselves, more strictly than FastAPI would, so this is where it is written down.
"""

from __future__ import annotations

from typing import Any, get_args

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from deployments.messages import Outcome
from serve_app.api import errors
from serve_app.api.backend import Backend
from serve_app.api.generation_schemas import GenerationBody
from serve_app.api.openapi_parts import (
    ACCESS_FAULTS,
    BODY_FAULTS,
    MAKING_FAULTS,
    OUTPUT_FORMAT,
    REQUEST_ID,
    REQUEST_ID_HEADER,
    SECURITY,
    SECURITY_SCHEMES,
    Responses,
    faults,
    header,
)
from serve_app.api.schemas import MusicBody
from serve_app.audio.containers import CONTAINER_FORMATS

READY_RESPONSES = faults(errors.NotReady)

MUSIC_RESPONSES: Responses = {
    200: {
        "description": "The sound, in the container asked for",
        "content": {
            container.media_type: {"schema": {"type": "string", "format": "binary"}}
            for container in CONTAINER_FORMATS.values()
        },
        "headers": {
            **REQUEST_ID_HEADER,
            "Content-Disposition": header("A name for the file"),
            "X-Generation-Id": header(
                "Names the music: the same for the same request and seed, however long", pattern="^[0-9a-f]{32}$"
            ),
            "X-Seed": header("The seed used: send it with the same body to get the same sound", "integer", minimum=0),
            "X-Duration-Ms": header("The length of the sound in milliseconds", "integer", minimum=0),
            "X-Sample-Rate": header("Samples a second", "integer", minimum=1),
            "X-Channels": header("Channels, interleaved in pcm", "integer", minimum=1),
            "X-Model": header("The model that made it"),
            "X-Model-License": header("The licence of the model's weights"),
            "X-Cache": header(
                "Where the music came from. hit: it was kept; joined: it was being made for another request; "
                "miss: it was made; cut: it is the beginning of longer music that was kept; extended: its beginning "
                "was kept, and the rest was made. The same music is the same bytes, whichever it was",
                enum=list(get_args(Outcome)),
            ),
            "Age": header("How many seconds ago it was made, for hit and cut", "integer", minimum=0),
            "Server-Timing": header("Milliseconds spent on each step"),
        },
    },
    **faults(
        *BODY_FAULTS,
        *ACCESS_FAULTS,
        *MAKING_FAULTS,
        errors.WorkerLostTwice,
        errors.DeadlineExceeded,
    ),
}

_SOUND = MUSIC_RESPONSES[200]
STREAM_RESPONSES: Responses = {
    **MUSIC_RESPONSES,
    200: {
        **_SOUND,
        "description": "The sound, in the container asked for, sent while it is made",
        "headers": {
            **_SOUND["headers"],
            "Server-Timing": header("Milliseconds until the first sound"),
            "Content-Length": header("The size of the whole, for wav and pcm, and what is kept", "integer", minimum=0),
        },
    },
}

MUSIC_REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/MusicBody"}}},
    },
    "parameters": [OUTPUT_FORMAT, REQUEST_ID],
    "security": SECURITY,
}

MODELS_RESPONSES = faults(*ACCESS_FAULTS)
MODELS_REQUEST: dict[str, Any] = {"security": SECURITY}


def describe(app: FastAPI, backend: Backend, max_variations: int | None, *, asks_for_keys: bool) -> dict[str, Any]:
    """The OpenAPI document of the app, with the models that the backend has. max_variations: of a job; None: the
    service takes none. asks_for_keys: nothing below /v1 is answered without an API key.
    """
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        routes=app.routes,
        openapi_version=app.openapi_version,
    )
    schemas = document["components"]["schemas"]
    document["components"]["securitySchemes"] = SECURITY_SCHEMES
    if asks_for_keys:
        for operation in (each for path in document["paths"].values() for each in path.values()):
            if "security" in operation:
                operation["security"] = [way for way in operation["security"] if way]
    schemas["MusicBody"] = _body(MusicBody, backend)
    if max_variations is not None:
        schemas["GenerationBody"] = _body(GenerationBody, backend)
        schemas["GenerationBody"]["properties"]["variations"]["maximum"] = max_variations
    return document


def _body(kind: type[MusicBody], backend: Backend) -> dict[str, Any]:
    """A body's schema, with what only this service knows."""
    body = kind.model_json_schema()
    cards = backend.models()
    body["properties"]["music_length_ms"]["maximum"] = max(card.max_duration_ms for card in cards)
    body["properties"]["model_id"]["anyOf"][0]["enum"] = [card.name for card in cards]
    return body
