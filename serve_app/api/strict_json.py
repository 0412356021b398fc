"""JSON without the parts that two readers understand differently."""

from __future__ import annotations

import codecs
import json

from serve_app.api.errors import InvalidRequest, MalformedRequest, plain_name

# The longest number that any field takes has 20 digits. Python refuses to make integers of thousands of them.
_MAX_INTEGER_CHARS = 40


def parse_json(body: bytes) -> object:
    """Bytes → what they mean, read by RFC 8259 in UTF-8 without a byte order mark.

    Beyond that grammar, NaN and Infinity are read as the floats they name, and integers too long for any use as
    floats (infinite ones, if need be): the field's own check then refuses them and says which field it was.
    Raises MalformedRequest, and InvalidRequest where an object has a key twice.
    """
    if not body.strip():
        raise MalformedRequest("The request has no body: send a JSON object.")
    if body.startswith(codecs.BOM_UTF8):
        raise MalformedRequest("The body begins with a byte order mark: send JSON in UTF-8 without one.")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"The body is not UTF-8 at byte {error.start}: send JSON in UTF-8.") from error
    try:
        return json.loads(text, object_pairs_hook=_object, parse_int=_integer)
    except json.JSONDecodeError as error:
        reason = error.msg.rstrip(": ")
        raise MalformedRequest(
            f"The body is not JSON at line {error.lineno}, column {error.colno}: {reason}."
        ) from error
    except RecursionError as error:
        raise MalformedRequest("The body is nested too deeply: send one flat JSON object.") from error


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members: dict[str, object] = {}
    for name, value in pairs:
        if name in members:
            raise InvalidRequest("A key stands twice in one object: send each once.", param=plain_name(name))
        members[name] = value
    return members


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_INTEGER_CHARS else float(digits)
