"""The same data with a key that nobody knows, once in each of its mappings: what a strict reader finds every time."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

UNKNOWN = "unknownKey"
Path = tuple[str | int, ...]


def mappings(data: Any, path: Path = ()) -> Iterator[Path]:
    """Where the mappings of `data` are, itself first."""
    if isinstance(data, dict):
        yield path
        for key, value in data.items():
            yield from mappings(value, (*path, key))
    elif isinstance(data, list):
        for i, value in enumerate(data):
            yield from mappings(value, (*path, i))


def planted(data: Any, path: Path) -> Any:
    """A copy of `data` with an unknown key in the mapping at `path`; its value fits nowhere either."""
    changed = copy.deepcopy(data)
    place = changed
    for step in path:
        place = place[step]
    place[UNKNOWN] = [[None]]
    return changed
