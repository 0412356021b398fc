"""Strict parsing of what clients send: JSON bodies, query parameters, and the canonical form of prompts."""

from __future__ import annotations

import codecs
import json
import re
import unicodedata
from collections.abc import Mapping

from starlette.datastructures import QueryParams

from serve_app.errors import InvalidRequest, MalformedRequest, plain_name
from serve_app.sound.containers import CONTAINER_FORMATS, DEFAULT_FORMAT, ContainerFormat

MAX_PROMPT_CHARS = 2_000
# Normalising takes time quadratic in a run of combining marks: 0.1 s for this many, 1.5 s for a full body.
MAX_RAW_PROMPT_CHARS = 4 * MAX_PROMPT_CHARS

# Refused: C0, DEL and C1 except tab, line feed and carriage return; U+FEFF, a byte order mark in the wrong place;
# lone surrogates. Other invisible characters have their uses (emoji and Persian are spelt with joiners) and pass.
_CONTROLS = ((0x00, 0x08), (0x0B, 0x0C), (0x0E, 0x1F), (0x7F, 0x9F), (0xFEFF, 0xFEFF))
_SURROGATES = (0xD800, 0xDFFF)
_FORBIDDEN = frozenset(chr(code) for low, high in (*_CONTROLS, _SURROGATES) for code in range(low, high + 1))
_INVISIBLE_CATEGORIES = frozenset({"Zs", "Cf"})

# The same as a regular expression for JSON Schema, whose strings have no lone surrogates.
_CONTROLS_CLASS = "".join(f"\\u{low:04x}-\\u{high:04x}" for low, high in _CONTROLS)
PROMPT_PATTERN = f"^[^{_CONTROLS_CLASS}]*[^{_CONTROLS_CLASS}\\s][^{_CONTROLS_CLASS}]*$"


def canonical_prompt(text: str) -> str:
    """The prompt in NFC, with single spaces and none at the ends; 1 to 2,000 characters (code points).

    It is what the model reads, and equal prompts have the same form.

    Raises:
        InvalidRequest: the prompt is longer or blank, or contains a control character, a lone surrogate or U+FEFF.
    """
    if len(text) > MAX_RAW_PROMPT_CHARS:
        raise _refused(f"prompt must be at most {MAX_PROMPT_CHARS} characters.")
    if not _FORBIDDEN.isdisjoint(text):
        raise _refused("prompt must be text without control characters, lone surrogates or byte order marks.")
    prompt = " ".join(unicodedata.normalize("NFC", text).split())
    if len(prompt) > MAX_PROMPT_CHARS:
        raise _refused(f"prompt must be at most {MAX_PROMPT_CHARS} characters.")
    if _INVISIBLE_CATEGORIES.issuperset(map(unicodedata.category, prompt)):
        raise _refused("prompt must not be blank: describe the music in words.")
    return prompt


def _refused(message: str) -> InvalidRequest:
    return InvalidRequest(message, param="prompt")


def single_values(query: QueryParams, *names: str) -> dict[str, str]:
    """The values of the query parameters in `names`. Raises: InvalidRequest for any other, or a repeated one."""
    values: dict[str, str] = {}
    for name, value in query.multi_items():
        if name not in names:
            raise InvalidRequest(
                f"The address has an unknown query parameter; {_names_in_words(names)}", param=plain_name(name)
            )
        if name in values:
            raise InvalidRequest(f"{name} must stand in the address once.", param=name)
        values[name] = value
    return values


def output_format(values: Mapping[str, str]) -> ContainerFormat:
    """The container that `output_format` names. Raises: InvalidRequest if there is none of that name."""
    container = CONTAINER_FORMATS.get(values.get("output_format", DEFAULT_FORMAT.name))
    if container is None:
        raise InvalidRequest(f"output_format must be one of: {', '.join(CONTAINER_FORMATS)}.", param="output_format")
    return container


def integer(values: Mapping[str, str], name: str, low: int, high: int, default: int) -> int:
    """The integer called `name`, in decimal digits. Raises: InvalidRequest if it isn't from low to high."""
    text = values.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise InvalidRequest(f"{name} must be an integer from {low} to {high}.", param=name)
    return int(text)


def _names_in_words(names: tuple[str, ...]) -> str:
    if not names:
        return "this path takes none."
    return f"the only one is {names[0]}." if len(names) == 1 else f"there are only {', '.join(names)}."


# The longest number that any field takes has 20 digits. Python refuses to make integers of thousands of them.
_MAX_INTEGER_CHARS = 40


def parse_json(body: bytes) -> object:
    """Parses JSON by RFC 8259, in UTF-8 without a byte order mark.

    Beyond that grammar, NaN and Infinity are read as floats, and integers that are too long for any field as floats,
    perhaps infinite ones: the field's own check then refuses them, and names the field.

    Raises:
        MalformedRequest: it is not JSON.
        InvalidRequest: an object has a key twice.
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
