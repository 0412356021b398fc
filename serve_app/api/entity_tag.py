"""What tells whether a client has a file already: entity tags (RFC 9110, sections 8.8.3 and 13.1)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import soundfile

from serve_app.audio.containers import ContainerFormat

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
