"""What operators may set: `application` has the whole. Here is what all settings share.

Settings are strict and frozen; each field's docstring is its description in the configuration reference.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator


class StrictModel(BaseModel):
    """Frozen; accepts no unknown key and no value of another type (an int for a float is fine, "1" for 1 is not)."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _only_known_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    raise ValueError(unknown_key(key, cls.model_fields))
        return data


def unknown_key(key: object, valid: Collection[str]) -> str:
    """What to say about a key that is not valid: the nearest valid one, and all of them."""
    near = difflib.get_close_matches(str(key), valid, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ";"
    return f"unknown key {str(key)!r}{hint} Valid keys: {', '.join(sorted(valid))}"


def sentence(error: ValidationError, where: str = "") -> str:
    """The first fault as one line, led by the dotted path to the value (below `where`)."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    path = dotted(where, *first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{path}: {message}" if path else message


def dotted(*parts: str | int) -> str:
    """`applications[0].args.models` of ("applications", 0, "args", "models"); empty parts are left out."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part:
            path += f".{part}" if path else part
    return path
