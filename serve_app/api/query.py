"""The query of an address, read as strictly as a body."""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.datastructures import QueryParams

from serve_app.api.errors import InvalidRequest, plain_name
from serve_app.audio.containers import CONTAINER_FORMATS, DEFAULT_FORMAT, ContainerFormat


def single_values(query: QueryParams, *names: str) -> dict[str, str]:
    """The values of the parameters that there may be. Raises InvalidRequest for any other, or a repeated one."""
    values: dict[str, str] = {}
    for name, value in query.multi_items():
        if name not in names:
            raise InvalidRequest(f"The address has an unknown query parameter; {_told(names)}", param=plain_name(name))
        if name in values:
            raise InvalidRequest(f"{name} must stand in the address once.", param=name)
        values[name] = value
    return values


def output_format(values: Mapping[str, str]) -> ContainerFormat:
    """The container asked for by `output_format`. Raises InvalidRequest for one that there is not."""
    container = CONTAINER_FORMATS.get(values.get("output_format", DEFAULT_FORMAT.name))
    if container is None:
        raise InvalidRequest(f"output_format must be one of: {', '.join(CONTAINER_FORMATS)}.", param="output_format")
    return container


def integer(values: Mapping[str, str], name: str, low: int, high: int, default: int) -> int:
    """The whole number called `name`, in decimal digits. Raises InvalidRequest where it isn't from low to high."""
    text = values.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise InvalidRequest(f"{name} must be an integer from {low} to {high}.", param=name)
    return int(text)


def _told(names: tuple[str, ...]) -> str:
    if not names:
        return "this path takes none."
    return f"the only one is {names[0]}." if len(names) == 1 else f"there are only {', '.join(names)}."
