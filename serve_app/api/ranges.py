"""The part of a file that a client asks for (RFC 9110, section 14)."""

from __future__ import annotations

import re

from serve_app.api.errors import RangeNotSatisfiable

# Two numbers of 20 digits, and then some. What is longer is not read at all, so no header takes long.
_MAX_CHARS = 64
_ONE_RANGE = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)


def requested_range(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """The bytes from the first to before the second; None for the whole.

    header: all values of `Range`, joined by commas. The whole is also what anything else gets that can't be read, or
    that asks for several ranges, as the RFC has it. size_bytes: of the whole, above 0.
    Raises: RangeNotSatisfiable for a range without one of these bytes.
    """
    if header is None or len(header) > _MAX_CHARS:
        return None
    match = _ONE_RANGE.fullmatch(header)
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        last_bytes = int(match[2])
        if last_bytes == 0:
            raise _none_of(size_bytes)
        return max(0, size_bytes - last_bytes), size_bytes
    first = int(match[1])
    end = int(match[2]) + 1 if match[2] else size_bytes
    if end <= first and match[2]:
        return None  # the wrong way round: not a range at all
    if first >= size_bytes:
        raise _none_of(size_bytes)
    return first, min(end, size_bytes)


def _none_of(size_bytes: int) -> RangeNotSatisfiable:
    return RangeNotSatisfiable(
        "The range has no byte of the file: ask for one that begins before its end.", size_bytes=size_bytes
    )
