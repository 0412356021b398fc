"""Whether a client has a file already, and which part of it it asks for.

Entity tags (RFC 9110, sections 8.8.3 and 13.1) and ranges (section 14).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import soundfile

from serve_app.errors import RangeNotSatisfiable
from serve_app.sound.containers import ContainerFormat

# A Vorbis stream has a serial number that is drawn at random: each time other bytes of the same sound.
_UNREPEATABLE = frozenset({"ogg"})
_OPAQUE = re.compile(r'"([\x21\x23-\x7e\x80-\xff]*)"')


@dataclass(frozen=True)
class EntityTag:
    """opaque: without its quotes. weak: two files with this tag sound alike, and their bytes may differ."""

    opaque: str
    weak: bool

    def __str__(self) -> str:
        return f'W/"{self.opaque}"' if self.weak else f'"{self.opaque}"'

    def is_among(self, if_none_match: str | None) -> bool:
        """Whether the client has the file: the weak comparison. if_none_match: all values, joined by commas."""
        if if_none_match is None:
            return False
        return if_none_match.strip() == "*" or self.opaque in _OPAQUE.findall(if_none_match)

    def continues(self, if_range: str | None) -> bool:
        """Whether a part of this file goes with what the client has: the strong comparison, if it makes one."""
        return not self.weak and (if_range is None or if_range.strip() == str(self))


def entity_tag(generation: str, duration_ms: int, license_id: str, container: ContainerFormat) -> EntityTag:
    """Of a finished file, before it is made: of all that decides its bytes.

    generation: the key of its music, which the model is in. license_id: as the file's tags have it.
    """
    decides = (generation, str(duration_ms), license_id, container.name, soundfile.__libsndfile_version__)
    digest = hashlib.sha256("\n".join(decides).encode()).hexdigest()
    return EntityTag(digest[:32], weak=container.name in _UNREPEATABLE)


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
