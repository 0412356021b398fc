"""The OpenAPI document: what it says of the routes beyond what FastAPI reads off their signatures.

The routes declare their parameters to FastAPI as plain strings, with the exact schema for the document, because they
parse them more strictly than FastAPI does. What is here is what FastAPI has no way to derive: the errors and headers of
the answers, the bodies that the routes read themselves, and the limits that only this service's settings know.
"""

from __future__ import annotations

from typing import Any, get_args

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from deployments.messages import Outcome
from serve_app import errors
from serve_app.api.backends import Backend
from serve_app.api.job_response import EVENTS_MEDIA_TYPE, HEARTBEAT_S
from serve_app.api.schemas.generations import GenerationAnswer, GenerationBody
from serve_app.api.schemas.music import ErrorAnswer, MusicBody
from serve_app.errors import ServiceError
from serve_app.job import JobState
from serve_app.proxy.header_filter import REQUEST_ID_HEADER, REQUEST_ID_PATTERN
from serve_app.sound.containers import CONTAINER_FORMATS

# FastAPI's `responses`: what each status means.
Responses = dict[int | str, dict[str, Any]]

ID_PATTERN = "^[0-9a-f]{32}$"
VERSION_PATTERN = "^[0-9]{1,18}$"


def _header(description: str, kind: str = "string", **schema: object) -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind, **schema}}


_REQUEST_ID = {REQUEST_ID_HEADER: _header("Names the request in the service's log", pattern=f"^{REQUEST_ID_PATTERN}$")}
_RETRY_AFTER = {"Retry-After": _header("Seconds to wait before another try", "integer", minimum=0)}
_RETRIED = (errors.TooBusy, errors.OverLimit, errors.NotReady, errors.Conflict)


def _answer(description: str, headers: dict[str, Any] | None = None, **more: object) -> dict[str, Any]:
    return {"description": description, "headers": {**_REQUEST_ID, **(headers or {})}, **more}


def error_responses(*kinds: type[ServiceError]) -> Responses:
    """The responses of these errors, described by their docstrings; errors of one status share a response."""
    responses: Responses = {}
    for kind in kinds:
        response = responses.setdefault(kind.status, {"model": ErrorAnswer, "headers": {**_REQUEST_ID}})
        if kind in _RETRIED:
            response["headers"].update(_RETRY_AFTER)
        descriptions = [response["description"]] if "description" in response else []
        response["description"] = "\n\n".join([*descriptions, f"`{kind.type}`: {kind.__doc__}"])
    return responses


# Of every path below /v1, where the caller and the limits are checked first.
_CALLER_ERRORS = (errors.Unauthorized, errors.NotOpen, errors.OverLimit, errors.NotReady, errors.Internal)
_BODY_ERRORS = (
    errors.MalformedRequest,
    errors.RequestTimeout,
    errors.PayloadTooLarge,
    errors.UnsupportedMediaType,
    errors.InvalidRequest,
)
_MUSIC_ERRORS = (errors.LicenseNotAccepted, errors.PromptRefused, errors.TooBusy)
_FIND_ERRORS = (*_CALLER_ERRORS, errors.NotFound, errors.InvalidRequest)


def takes_body(kind: type[MusicBody]) -> dict[str, Any]:
    """`openapi_extra` of a route that reads the body itself."""
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


READY_RESPONSES = error_responses(errors.NotReady)
MODELS_RESPONSES = error_responses(*_CALLER_ERRORS)

_SOUND_HEADERS = {
    "Content-Disposition": _header("A name for the file"),
    "X-Generation-Id": _header(
        "Names the music: the same for the same request and seed, whatever the length", pattern=ID_PATTERN
    ),
    "X-Seed": _header("The seed used: send it with the same body to get the same sound", "integer", minimum=0),
    "X-Duration-Ms": _header("The length of the sound in milliseconds", "integer", minimum=0),
    "X-Sample-Rate": _header("Samples a second", "integer", minimum=1),
    "X-Channels": _header("Channels, interleaved in pcm", "integer", minimum=1),
    "X-Model": _header("The model that made it"),
    "X-Model-License": _header("The licence of the model's weights"),
    "X-Cache": _header(
        "Where the music came from. hit: from the cache; joined: it was being made for another request; miss: it was "
        "made; cut: it is the beginning of longer music in the cache; extended: its beginning was in the cache, and "
        "the rest was made. The same music is the same bytes in all cases",
        enum=list(get_args(Outcome)),
    ),
    "Age": _header("How many seconds ago it was made, for hit and cut", "integer", minimum=0),
}
_SOUND: dict[str, Any] = {
    "content": {
        container.media_type: {"schema": {"type": "string", "format": "binary"}}
        for container in CONTAINER_FORMATS.values()
    }
}
_MUSIC_ERROR_RESPONSES = error_responses(
    *_BODY_ERRORS, *_CALLER_ERRORS, *_MUSIC_ERRORS, errors.WorkerLostTwice, errors.DeadlineExceeded
)
MUSIC_RESPONSES: Responses = {
    200: _answer(
        "The sound, in the container asked for",
        {**_SOUND_HEADERS, "Server-Timing": _header("Milliseconds spent on each step")},
        **_SOUND,
    ),
    **_MUSIC_ERROR_RESPONSES,
}
STREAM_RESPONSES: Responses = {
    200: _answer(
        "The sound, in the container asked for, sent while it is made",
        {
            **_SOUND_HEADERS,
            "Server-Timing": _header("Milliseconds until the first sound"),
            "Content-Length": _header("The size of the whole, for wav, pcm and cached files", "integer", minimum=0),
        },
        **_SOUND,
    ),
    **_MUSIC_ERROR_RESPONSES,
}

_LOCATION = {"Location": _header("The address of the generation")}
SUBMIT_RESPONSES: Responses = {
    202: _answer("It is in the queue", _LOCATION, model=GenerationAnswer),
    200: _answer("It was submitted before, with the same key and the same body", _LOCATION, model=GenerationAnswer),
    **error_responses(*_BODY_ERRORS, *_CALLER_ERRORS, *_MUSIC_ERRORS),
}
FIND_RESPONSES = error_responses(*_FIND_ERRORS)
DELETE_RESPONSES: Responses = {
    200: _answer("It was in progress, and is cancelled", model=GenerationAnswer),
    204: _answer("It had ended, and is deleted"),
    **FIND_RESPONSES,
}

# OpenAPI 3.2's way to describe a stream, which FastAPI and its tools accept in a 3.1 document too.
_EVENT = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "pattern": VERSION_PATTERN},
        "event": {"type": "string", "enum": ["progress", *get_args(JobState)]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/GenerationAnswer"},
        },
        "retry": {"type": "integer", "minimum": 0},
    },
}
EVENTS_RESPONSES: Responses = {
    200: _answer(
        "Events, until the generation has ended. `id` is its version. `event` is its state where that is new to you, "
        "and `progress` where it is not. `data` is the generation, as GET answers it, on one line. A slow reader gets "
        f"the latest state, not all. A comment comes when there was nothing for {HEARTBEAT_S:g} s. When the connection "
        "breaks, connect again with Last-Event-ID; a generation that is deleted has no more events.",
        {"Cache-Control": _header("no-store")},
        content={EVENTS_MEDIA_TYPE: {"itemSchema": _EVENT}},
    ),
    204: _answer("It has ended, and you know: do not connect again"),
    **FIND_RESPONSES,
}

_ETAG = {"ETag": _header("Of the file; weak for ogg, which has other bytes each time it is made")}
_FILE_HEADERS = {
    **_SOUND_HEADERS,
    **_ETAG,
    "Accept-Ranges": _header("bytes; none for ogg", enum=["bytes", "none"]),
    "Cache-Control": _header("private, no-cache"),
    "Content-Length": _header("The size of what is sent", "integer", minimum=0),
}
_FILE_ERROR_RESPONSES = error_responses(
    *_FIND_ERRORS, errors.LicenseNotAccepted, errors.Conflict, errors.Gone, errors.TooBusy, errors.DeadlineExceeded
)
_NOT_MODIFIED = _answer("You have it", _ETAG)
AUDIO_RESPONSES: Responses = {
    200: _answer("The sound, in the container asked for", _FILE_HEADERS, **_SOUND),
    206: _answer(
        "The part that is asked for",
        {**_FILE_HEADERS, "Content-Range": _header("Which part it is, and the size of the whole")},
        **_SOUND,
    ),
    304: _NOT_MODIFIED,
    **_FILE_ERROR_RESPONSES,
    **error_responses(errors.RangeNotSatisfiable),
}
AUDIO_HEAD_RESPONSES: Responses = {
    200: _answer("The headers of the sound", _FILE_HEADERS),
    304: _NOT_MODIFIED,
    **{
        status: {name: each for name, each in response.items() if name != "model"}
        for status, response in _FILE_ERROR_RESPONSES.items()
    },
}

_SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key of this service, where the operator requires one.",
    },
    "xi-api-key": {
        "type": "apiKey",
        "in": "header",
        "name": "xi-api-key",
        "description": "The same in a header of its own.",
    },
}
_REQUEST_ID_PARAMETER = {
    "name": REQUEST_ID_HEADER,
    "in": "header",
    "required": False,
    "description": f"A name for the request, {REQUEST_ID_PATTERN}; for anything else one is drawn.",
    "schema": {"type": "string"},
}


def describe(app: FastAPI, backend: Backend, max_variations: int | None, *, needs_keys: bool) -> dict[str, Any]:
    """The OpenAPI document of the app.

    Args:
        backend: whose models the document lists.
        max_variations: of a job; None for a service without jobs.
        needs_keys: nothing below /v1 is answered without an API key.
    """
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        routes=app.routes,
        openapi_version=app.openapi_version,
    )
    schemas = document["components"]["schemas"]
    document["components"]["securitySchemes"] = _SECURITY_SCHEMES
    for path, operations in document["paths"].items():
        for operation in operations.values() if path.startswith("/v1/") else ():
            operation["security"] = [*([] if needs_keys else [{}]), *({name: []} for name in _SECURITY_SCHEMES)]
            operation.setdefault("parameters", []).append(_REQUEST_ID_PARAMETER)
    schemas["MusicBody"] = _body_schema(MusicBody, backend)
    if max_variations is not None:
        schemas["GenerationBody"] = _body_schema(GenerationBody, backend)
        schemas["GenerationBody"]["properties"]["variations"]["maximum"] = max_variations
    return document


def _body_schema(kind: type[MusicBody], backend: Backend) -> dict[str, Any]:
    """The schema of a body, with the limits of this service's models."""
    schema = kind.model_json_schema()
    cards = backend.models()
    schema["properties"]["music_length_ms"]["maximum"] = max(card.max_duration_ms for card in cards)
    schema["properties"]["model_id"]["anyOf"][0]["enum"] = [card.name for card in cards]
    return schema
