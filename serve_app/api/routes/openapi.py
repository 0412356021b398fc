"""Pieces of the OpenAPI document that several routes share.

What the OpenAPI document says beyond what FastAPI reads off the routes.

The routes read their input themselves, more strictly than FastAPI would, so this is where it is written down.
"""

from __future__ import annotations

from typing import Any, get_args

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from deployments.messages import Outcome
from serve_app import errors
from serve_app.api.backends import Backend
from serve_app.api.schemas.generations import GenerationBody
from serve_app.api.schemas.music import ErrorAnswer, MusicBody
from serve_app.errors import ServiceError
from serve_app.proxy import client_headers as request_id
from serve_app.sound.containers import CONTAINER_FORMATS, DEFAULT_FORMAT

# FastAPI's `responses`: what each status means.
Responses = dict[int | str, dict[str, Any]]


def header(description: str, kind: str = "string", **schema: object) -> dict[str, Any]:
    """A response header."""
    return {"description": description, "schema": {"type": kind, **schema}}


def parameter(name: str, place: str, description: str, required: bool = False, **schema: object) -> dict[str, Any]:
    """A parameter of a request. place: `query`, `header` or `path`."""
    return {"name": name, "in": place, "required": required, "description": description, "schema": schema}


REQUEST_ID_HEADER = {
    request_id.HEADER: header("Names the request in the service's log", pattern=f"^{request_id.PATTERN}$")
}
RETRY_AFTER_HEADER = {"Retry-After": header("Seconds to wait before another try", "integer", minimum=0)}

REQUEST_ID = parameter(
    request_id.HEADER,
    "header",
    f"A name for the request, {request_id.PATTERN}; for anything else one is drawn.",
    type="string",
)
OUTPUT_FORMAT = parameter(
    "output_format",
    "query",
    "The container of the sound; pcm is raw signed 16-bit little-endian samples.",
    type="string",
    enum=list(CONTAINER_FORMATS),
    default=DEFAULT_FORMAT.name,
)

_RETRIED = (errors.TooBusy, errors.OverLimit, errors.NotReady, errors.Conflict)


def faults(*kinds: type[ServiceError]) -> Responses:
    """What these errors are answered with; a class' docstring describes it; those of one status stand together."""
    responses: Responses = {}
    for kind in kinds:
        response = responses.setdefault(kind.status, {"model": ErrorAnswer, "headers": {**REQUEST_ID_HEADER}})
        if kind in _RETRIED:
            response["headers"].update(RETRY_AFTER_HEADER)
        descriptions = [response["description"]] if "description" in response else []
        response["description"] = "\n\n".join([*descriptions, f"`{kind.type}`: {kind.__doc__}"])
    return responses


# What every path below /v1 may answer: who asks is checked first, and how often.
ACCESS_FAULTS = (errors.Unauthorized, errors.NotOpen, errors.OverLimit, errors.NotReady, errors.Internal)
BODY_FAULTS = (
    errors.MalformedRequest,
    errors.RequestTimeout,
    errors.PayloadTooLarge,
    errors.UnsupportedMediaType,
    errors.InvalidRequest,
)
MAKING_FAULTS = (errors.LicenseNotAccepted, errors.PromptRefused, errors.TooBusy)

# Where the operator asks for no keys, none is needed.
SECURITY: list[dict[str, list[str]]] = [{}, {"bearer": []}, {"xi-api-key": []}]
SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key of this service, where the operator asks for one.",
    },
    "xi-api-key": {
        "type": "apiKey",
        "in": "header",
        "name": "xi-api-key",
        "description": "The same in a header of its own.",
    },
}


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
