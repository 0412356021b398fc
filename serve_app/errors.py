"""Everything that can go wrong for a client, and the one place where it becomes HTTP.

A message says what was wrong and what would be right. It never repeats a value that the client sent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from starlette.responses import JSONResponse

# Long enough for a clip to end, short enough for a person to wait.
RETRY_AFTER_S = 5.0

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")


class ServiceError(Exception):
    """The root of the tree: `type` and `status` belong to the class, the rest to the error.

    param: the field, query parameter or header at fault. retry_after_s: when another try makes sense.

    It crosses processes: pickle keeps every field, and the instance fields have no default on the class, because Ray
    raises an error of both kinds, its own and this, that looks up on the original what the class does not have.
    """

    type: ClassVar[str]
    status: ClassVar[int]

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s

    def headers(self) -> dict[str, str]:
        """The response headers that belong to this error."""
        return {} if self.retry_after_s is None else {"Retry-After": str(math.ceil(self.retry_after_s))}


class MalformedRequest(ServiceError):
    """The bytes can't be read as what they should be: an empty body, no JSON, broken framing."""

    type = "malformed_request"
    status = 400


class InvalidRequest(ServiceError):
    """It can be read, and a value in it is not allowed."""

    type = "invalid_request"
    status = 422


class Unauthorized(ServiceError):
    """No API key, or not a right one; which of the two, and in what way, is not told."""

    type = "unauthorized"
    status = 401

    def headers(self) -> dict[str, str]:
        return {**super().headers(), "WWW-Authenticate": "Bearer"}


class NotOpen(ServiceError):
    """The service has no API keys, and the request came from beyond this machine."""

    type = "not_open"
    status = 403


class LicenseNotAccepted(ServiceError):
    """The operator has not accepted the licence of the model's weights, so the model is not loaded."""

    type = "license_not_accepted"
    status = 403


class PromptRefused(ServiceError):
    """The operator's policy refuses the prompt."""

    type = "prompt_refused"
    status = 403


class NotFound(ServiceError):
    """There is nothing there, or nothing of yours."""

    type = "not_found"
    status = 404


class Conflict(ServiceError):
    """It can't be done as things stand: the sound of a job that is not made, say."""

    type = "conflict"
    status = 409


class Gone(ServiceError):
    """It was there and is no more."""

    type = "gone"
    status = 410


class RangeNotSatisfiable(ServiceError):
    """The range begins after the end. size_bytes: of the whole."""

    type = "range_not_satisfiable"
    status = 416

    def __init__(self, message: str, *, size_bytes: int = 0) -> None:
        super().__init__(message, param="Range")
        self.size_bytes = size_bytes

    def headers(self) -> dict[str, str]:
        return {**super().headers(), "Content-Range": f"bytes */{self.size_bytes}"}


class MethodNotAllowed(ServiceError):
    """The path is right, the method is not. allow: the methods that are."""

    type = "method_not_allowed"
    status = 405

    def __init__(self, message: str, *, allow: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.allow = tuple(allow)

    def headers(self) -> dict[str, str]:
        return {**super().headers(), "Allow": ", ".join(self.allow)}


class RequestTimeout(ServiceError):
    """The body did not come in time; the connection closes, since the rest of it may still be on its way."""

    type = "request_timeout"
    status = 408

    def headers(self) -> dict[str, str]:
        return {**super().headers(), "Connection": "close"}


class PayloadTooLarge(ServiceError):
    """The body is longer than what is read; the connection closes, since the rest of it is still on its way."""

    type = "payload_too_large"
    status = 413

    def headers(self) -> dict[str, str]:
        return {**super().headers(), "Connection": "close"}


class UnsupportedMediaType(ServiceError):
    """The body is not sent as JSON in UTF-8."""

    type = "unsupported_media_type"
    status = 415


class TooBusy(ServiceError):
    """Every place is taken, in the queue too."""

    type = "too_busy"
    status = 429

    def __init__(self, message: str, *, retry_after_s: float = RETRY_AFTER_S) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class OverLimit(ServiceError):
    """The key has had its share for now; the headers say how much that is and when there is more."""

    type = "over_limit"
    status = 429


class ClientClosedRequest(ServiceError):
    """The client hung up. Nobody reads the answer; the status, nginx' own, is for the log."""

    type = "client_closed_request"
    status = 499


class Internal(ServiceError):
    """A fault of the service."""

    type = "internal"
    status = 500


class WorkerLostTwice(ServiceError):
    """Two workers were lost while they made this clip, one after the other, so it is not tried again."""

    type = "worker_lost_twice"
    status = 500

    def __init__(
        self,
        message: str = "Two workers were lost while they made this clip, and it is not tried again: "
        "change the request, or report it with its request id.",
    ) -> None:
        super().__init__(message)


class NotReady(ServiceError):
    """Something the request needs is not up (yet)."""

    type = "not_ready"
    status = 503

    def __init__(self, message: str, *, retry_after_s: float = RETRY_AFTER_S) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class DeadlineExceeded(ServiceError):
    """The clip was not made in the time there was for it."""

    type = "deadline_exceeded"
    status = 504


def error_response(error: ServiceError) -> JSONResponse:
    """`{"error": {"type", "message", "param"}}` with the error's status and headers."""
    body: Mapping[str, object] = {"error": {"type": error.type, "message": error.message, "param": error.param}}
    return JSONResponse(body, status_code=error.status, headers=error.headers())


def plain_name(name: str) -> str | None:
    """The name of a client's making if it is short and plain enough to be repeated in an error, else None."""
    return name if _PLAIN_NAME.fullmatch(name) else None
