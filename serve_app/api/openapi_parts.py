"""Pieces of the OpenAPI document that several routes share."""

from __future__ import annotations

from typing import Any

from serve_app.api import errors, request_id
from serve_app.api.errors import ServiceError
from serve_app.api.schemas import ErrorAnswer
from serve_app.audio.containers import CONTAINER_FORMATS, DEFAULT_FORMAT

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
