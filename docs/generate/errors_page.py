"""docs/errors.md: every error that a client can get, from `serve_app.errors`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from docs.generate.markdown import table
from serve_app import errors
from serve_app.errors import ServiceError

_HEAD = """\
# Errors

Made by `python -m docs.generate` from `serve_app/errors.py`.

Every error has one form, whatever the route:

```text
{"error": {"type": "invalid_request", "message": "The body has an unknown field; did you mean \\"prompt\\"?", "param": "promt"}}
```

- `type` is for programs: one of those below. Their names are stable.
- `message` is for people: what was wrong, and what would be right. Its wording may change. It never repeats what you sent.
- `param` is the field, query parameter or header at fault, or null.

An answer with `Retry-After` says after how many seconds another try makes sense. `X-Request-Id` is in every answer; the
[logs](operations.md#logs) have all that happened to a request under it. A job that failed has the same `type` and
`message` in its record.

"""
_TAIL = """
A stream that fails after it began can't change its status: it [breaks off](streaming.md#a-stream-that-breaks-off)
instead. `client_closed_request` is never read by anybody: it is what logs and metrics say when a client hung up.
"""

# What a client does about it.
REMEDIES: Mapping[str, str] = {
    "malformed_request": "Send one JSON object as the body.",
    "invalid_request": "Correct the field that `param` names; the message says what it may be. Trying again unchanged "
    "fails again.",
    "unauthorized": "Send a valid key: `Authorization: Bearer …` or `xi-api-key: …`.",
    "not_open": "Ask from the machine itself, or have the operator [require API keys](authentication.md).",
    "license_not_accepted": "Choose another model of `GET /v1/models`, or have the operator accept the licence "
    "(`accepted_licenses`).",
    "prompt_refused": "Change the prompt; the message is the operator's reason.",
    "not_found": "Check the path or the id. What belongs to another tenant looks the same as what does not exist.",
    "conflict": "Follow the job's events and fetch the sound when it has succeeded. If it failed or was cancelled, submit "
    "it again.",
    "gone": "Submit it again, with a model that is still offered.",
    "range_not_satisfiable": "Ask for a range that begins before the end; `Content-Range` says how long the file is.",
    "method_not_allowed": "Use a method that `Allow` names.",
    "request_timeout": "Send the body faster: it has 30 s (`http.body_timeout_s`).",
    "payload_too_large": "Send a shorter body: it may have 64 KiB (`http.max_body_bytes`).",
    "unsupported_media_type": "Send `Content-Type: application/json`, in UTF-8, not compressed.",
    "too_busy": "Try again after `Retry-After`, or submit a [job](jobs.md), which waits for you.",
    "over_limit": "Wait as long as `Retry-After` says; `X-RateLimit-*` say how much the key may use.",
    "client_closed_request": "Nothing: the client is gone.",
    "internal": "Report it with its `X-Request-Id`.",
    "worker_lost_twice": "Change the request, or report it with its `X-Request-Id`.",
    "not_ready": "Try again after `Retry-After`; `GET /ready` says what is not up.",
    "deadline_exceeded": "Ask for a shorter clip, or later, or submit a [job](jobs.md).",
}


def error_types() -> list[type[ServiceError]]:
    """Every error of the service, by status."""
    classes = (each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ServiceError))
    return sorted({each for each in classes if each is not ServiceError}, key=lambda each: (each.status, each.type))


def errors_page() -> str:
    """The whole page. Raises: KeyError for an error that `REMEDIES` does not know."""
    return _HEAD + table(("status", "type", "when", "what to do"), _rows()) + _TAIL


def _rows() -> Iterator[tuple[str, str, str, str]]:
    for each in error_types():
        yield str(each.status), f"`{each.type}`", _when(each), REMEDIES[each.type]


def _when(error: type[ServiceError]) -> str:
    """The docstring, without what it says of the class' own fields."""
    text = " ".join((error.__doc__ or "").split())
    return re.split(r"(?<=\.) (?:Args: |[a-z_]+: )", text)[0]
