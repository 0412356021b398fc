"""The tree of errors that a client can get, and the one place where they become HTTP.

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
    """The root of the tree. `type` and `status` belong to the class, the other fields to the error.

    It crosses processes: pickle keeps every field. Instance fields have no default on the class, because Ray raises an
    error that is both its own and this one, and looks up on the original only what the class does not have.

    Args:
        param: the field, query parameter or header at fault.
        retry_after_s: when another try makes sense.
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
    """There is no API key, or no valid one; the answer does not say which."""

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
    """There is nothing at this address, or nothing of yours."""

    type = "not_found"
    status = 404


class Conflict(ServiceError):
    """It can't be done in the present state: the sound of a job that has not ended, for example."""

    type = "conflict"
    status = 409


class Gone(ServiceError):
    """It existed, and does not any more."""

    type = "gone"
    status = 410


class RangeNotSatisfiable(ServiceError):
    """The range begins after the end of the file."""

    type = "range_not_satisfiable"
    status = 416

    def __init__(self, message: str, *, size_bytes: int = 0) -> None:
        super().__init__(message, param="Range")
        self.size_bytes = size_bytes

    def headers(self) -> dict[str, str]:
        return {**super().headers(), "Content-Range": f"bytes */{self.size_bytes}"}


class MethodNotAllowed(ServiceError):
    """The path is right, the method is not; the header Allow lists those that are."""

    type = "method_not_allowed"
    status = 405

    def __init__(self, message: str, *, allow: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.allow = tuple(allow)

    def headers(self) -> dict[str, str]:
        return {**super().headers(), "Allow": ", ".join(self.allow)}


class RequestTimeout(ServiceError):
    """The body did not arrive in time; the connection closes, since the rest of it may still come."""

    type = "request_timeout"
    status = 408

    def headers(self) -> dict[str, str]:
        return {**super().headers(), "Connection": "close"}


class PayloadTooLarge(ServiceError):
    """The body is too long; the connection closes, since the rest of it is still coming."""

    type = "payload_too_large"
    status = 413

    def headers(self) -> dict[str, str]:
        return {**super().headers(), "Connection": "close"}


class UnsupportedMediaType(ServiceError):
    """The body is not sent as JSON in UTF-8."""

    type = "unsupported_media_type"
    status = 415


class TooBusy(ServiceError):
    """All slots of the model are in use and its queue is full, or the tenant's queue of jobs is full."""

    type = "too_busy"
    status = 429

    def __init__(self, message: str, *, retry_after_s: float = RETRY_AFTER_S) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class OverLimit(ServiceError):
    """The key has used up a limit for now; the headers say which, and when there is more."""

    type = "over_limit"
    status = 429


class ClientClosedRequest(ServiceError):
    """The client hung up. Nobody reads the answer; the status, which is nginx', is for the log."""

    type = "client_closed_request"
    status = 499


class Internal(ServiceError):
    """A fault of the service."""

    type = "internal"
    status = 500


class WorkerLostTwice(ServiceError):
    """Two workers were lost while they made this clip, one after the other, so it is not retried."""

    type = "worker_lost_twice"
    status = 500

    def __init__(
        self,
        message: str = "Two workers were lost while they made this clip, and it is not tried again: "
        "change the request, or report it with its request id.",
    ) -> None:
        super().__init__(message)


class NotReady(ServiceError):
    """Something that the request needs is not available (yet)."""

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
