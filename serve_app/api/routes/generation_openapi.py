"""What the OpenAPI document says of jobs."""

from __future__ import annotations

from typing import Any, get_args

from serve_app import errors
from serve_app.api.job_response import HEARTBEAT_S, MEDIA_TYPE
from serve_app.api.requests import KEY_HEADER, KEY_PATTERN
from serve_app.api.routes.openapi import (
    ACCESS_FAULTS,
    BODY_FAULTS,
    MAKING_FAULTS,
    MUSIC_RESPONSES,
    OUTPUT_FORMAT,
    REQUEST_ID,
    REQUEST_ID_HEADER,
    SECURITY,
    Responses,
    faults,
    header,
    parameter,
)
from serve_app.api.schemas.generations import MAX_VARIATIONS, GenerationAnswer
from serve_app.job import JobState

MAX_PAGE = 100
DEFAULT_PAGE = 20

_ID = parameter("id", "path", "Of a generation: 32 hexadecimal digits.", True, type="string", pattern="^[0-9a-f]{32}$")
_LOCATION = {"Location": header("The address of the generation")}
_OWN_FAULTS = (*ACCESS_FAULTS, errors.NotFound, errors.InvalidRequest)


def _request(*parameters: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"parameters": [*parameters, REQUEST_ID], "security": SECURITY, **more}


def _generation(description: str, **headers: object) -> dict[str, Any]:
    return {"model": GenerationAnswer, "description": description, "headers": {**REQUEST_ID_HEADER, **headers}}


def _empty(description: str, **headers: object) -> dict[str, Any]:
    return {"description": description, "headers": {**REQUEST_ID_HEADER, **headers}}


SUBMIT_REQUEST = _request(
    parameter(
        KEY_HEADER,
        "header",
        "Your own name for this submission: the same key with the same body is the same generation, however often it "
        "is sent, and with another body an error.",
        type="string",
        pattern=f"^{KEY_PATTERN}$",
    ),
    requestBody={
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/GenerationBody"}}},
    },
)
SUBMIT_RESPONSES: Responses = {
    202: _generation("It is in the queue", **_LOCATION),
    200: _generation("It was submitted before, with the same key and the same body", **_LOCATION),
    **faults(*BODY_FAULTS, *ACCESS_FAULTS, *MAKING_FAULTS),
}

PAGE_REQUEST = _request(
    parameter("limit", "query", "How many at most.", type="integer", minimum=1, maximum=MAX_PAGE, default=DEFAULT_PAGE),
    parameter("before", "query", "The id of the last one that you have.", type="string", pattern="^[0-9a-f]{32}$"),
)
PAGE_RESPONSES = faults(*_OWN_FAULTS)

FIND_REQUEST = _request(_ID)
FIND_RESPONSES = faults(*_OWN_FAULTS)
DELETE_RESPONSES: Responses = {
    200: _generation("It was under way, and is cancelled"),
    204: _empty("It had ended, and is removed"),
    **faults(*_OWN_FAULTS),
}

EVENTS_REQUEST = _request(
    _ID,
    parameter(
        "Last-Event-ID",
        "header",
        "The id of the last event that you have; what it told is not told again.",
        type="string",
        pattern="^[0-9]{1,18}$",
    ),
)
# OpenAPI 3.2's way to describe a stream, which FastAPI and its tools take from 3.1 too.
_EVENT = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]{1,18}$"},
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
    200: {
        "description": "Events, until the generation has ended. `id` is its version. `event` is its state where that "
        "is new to you, and `progress` where it is not. `data` is the generation, as GET answers it, on one line. Who "
        f"is slow is told the last state, not all. A comment comes when there was nothing for {HEARTBEAT_S:g} s. When "
        "the connection breaks, connect again with Last-Event-ID; a generation that is removed has no more events.",
        "content": {MEDIA_TYPE: {"itemSchema": _EVENT}},
        "headers": {**REQUEST_ID_HEADER, "Cache-Control": header("no-store")},
    },
    204: _empty("It has ended, and you know: do not connect again"),
    **faults(*_OWN_FAULTS),
}

AUDIO_HEAD_REQUEST = _request(
    _ID,
    OUTPUT_FORMAT,
    parameter("variation", "query", "Its number.", type="integer", minimum=0, maximum=MAX_VARIATIONS - 1, default=0),
    parameter("If-None-Match", "header", "Entity tags of the files that you have.", type="string"),
)
AUDIO_REQUEST = _request(
    *AUDIO_HEAD_REQUEST["parameters"][:-1],
    parameter(
        "Range",
        "header",
        "`bytes=first-last`: a part of the file. Several ranges, or what is none, get the whole.",
        type="string",
    ),
    parameter(
        "If-Range", "header", "An entity tag: the part only if it is of that file, else the whole.", type="string"
    ),
)

_SOUND = MUSIC_RESPONSES[200]
_FILE_HEADERS = {
    **{name: each for name, each in _SOUND["headers"].items() if name != "Server-Timing"},
    "ETag": header("Of the file; weak for ogg, which has other bytes each time it is made"),
    "Accept-Ranges": header("bytes; none for ogg", enum=["bytes", "none"]),
    "Cache-Control": header("private, no-cache"),
    "Content-Length": header("The size of what is sent", "integer", minimum=0),
}
_AUDIO_FAULTS = faults(
    *_OWN_FAULTS,
    errors.LicenseNotAccepted,
    errors.Conflict,
    errors.Gone,
    errors.TooBusy,
    errors.DeadlineExceeded,
)
_NOT_MODIFIED = _empty("You have it", ETag=_FILE_HEADERS["ETag"])
AUDIO_RESPONSES: Responses = {
    200: {**_SOUND, "headers": _FILE_HEADERS},
    206: {
        **_SOUND,
        "description": "The part that is asked for",
        "headers": {**_FILE_HEADERS, "Content-Range": header("Which part it is, and the size of the whole")},
    },
    304: _NOT_MODIFIED,
    **_AUDIO_FAULTS,
    **faults(errors.RangeNotSatisfiable),
}
AUDIO_HEAD_RESPONSES: Responses = {
    200: {"description": "The headers of the sound", "headers": _FILE_HEADERS},
    304: _NOT_MODIFIED,
    **{
        status: {name: each for name, each in fault.items() if name != "model"}
        for status, fault in _AUDIO_FAULTS.items()
    },
}
