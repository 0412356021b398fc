"""What is kept, as bytes: documented, checked, readable without Python.

An entry is a head and a body. The head, all integers big-endian:

    0   4 bytes   "MGSe"
    4   2 bytes   version of the format
    6   2 bytes   size of the whole head
    8   4 bytes   CRC-32 of the eight bytes before; these twelve bytes stay as they are in every later version
    12  32 bytes  SHA-256 over: the entry's key, a line feed, bytes 44 to the head's end, the body
    44            JSON in ASCII: the kind, when it was made, and what the body is

The body of codes is int16, little-endian, codebook after codebook; that of sound is the file itself; an alias has none.
The key is under the checksum, so that an entry that got under another's name is a broken one. A file holds the head and
then the body; an object store keeps the head as metadata, and the object is the sound and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from serve_app.cache.keys import Key

VERSION = 1
# What object stores take as metadata: 2 KB, in base64 and with its name.
MAX_HEAD_BYTES = 1_408

_MAGIC = b"MGSe"
_PREAMBLE = struct.Struct(">4sHH")
_PREAMBLE_BYTES = _PREAMBLE.size + 4
_DIGEST_BYTES = 32
_JSON_START = _PREAMBLE_BYTES + _DIGEST_BYTES
_OCTETS = "application/octet-stream"


class BrokenEntry(Exception):
    """The bytes are not what was written under this key: cut, changed, or somebody else's."""


class NewerEntry(Exception):
    """A later version of this program wrote the entry, and can read it."""


@dataclass(frozen=True)
class Packed:
    """An entry as a store holds it. media_type: of the body, for stores that tell a client."""

    head: bytes
    body: bytes
    media_type: str = _OCTETS

    @property
    def size_bytes(self) -> int:
        return len(self.head) + len(self.body)

    @classmethod
    def split(cls, data: bytes) -> Packed:
        """Head and body of what lay in one piece; of no entry, all is head, which `unpack` then refuses."""
        size = _PREAMBLE.unpack_from(data)[2] if len(data) >= _PREAMBLE.size else len(data)
        return cls(data[:size], data[size:])


@dataclass(frozen=True)
class CachedCodes:
    """codes: int16 [K, T]. created_s: seconds since 1970. numerics: of the engine that made them."""

    codes: np.ndarray
    numerics: str
    created_s: float


@dataclass(frozen=True)
class CachedAlias:
    """seed: that the request without one was given. created_s: seconds since 1970."""

    seed: int
    created_s: float


@dataclass(frozen=True)
class CachedSound:
    """A finished file, and what its answer's headers say. created_s: seconds since 1970."""

    sound: bytes
    media_type: str
    sample_rate: int
    channels: int
    duration_ms: int
    created_s: float


Cached = CachedCodes | CachedAlias | CachedSound


def pack(key: Key, kept: Cached) -> Packed:
    """The entry's bytes. Raises: ValueError where `kept` is not of the key's kind, or does not fit the format."""
    if isinstance(kept, CachedCodes) and key.kind == "codes":
        if kept.codes.ndim != 2 or kept.codes.dtype != np.int16:
            raise ValueError(
                f"codes must be int16 [codebooks, frames], not {kept.codes.dtype} {list(kept.codes.shape)}"
            )
        codebooks, frames = kept.codes.shape
        fields = {"numerics": kept.numerics, "codebooks": codebooks, "frames": frames}
        return _packed(key, kept.created_s, fields, kept.codes.astype("<i2").tobytes(), _OCTETS)
    if isinstance(kept, CachedAlias) and key.kind == "alias":
        return _packed(key, kept.created_s, {"seed": kept.seed}, b"", _OCTETS)
    if isinstance(kept, CachedSound) and key.kind == "sound":
        fields = {
            "media_type": kept.media_type,
            "sample_rate": kept.sample_rate,
            "channels": kept.channels,
            "duration_ms": kept.duration_ms,
        }
        return _packed(key, kept.created_s, fields, kept.sound, kept.media_type)
    raise ValueError(f"{type(kept).__name__} is not what is kept under a key of {key.kind}")


def is_newer(packed: Packed) -> bool:
    """Whether a later version of this program wrote it; a version is believed only where its CRC is right."""
    version = _version(packed.head)
    return version is not None and version > VERSION


def unpack(key: Key, packed: Packed) -> Cached:
    """What `pack` was given. Raises: BrokenEntry; NewerEntry."""
    head, body = packed.head, packed.body
    version = _version(head)
    if version is None:
        raise BrokenEntry("it does not begin as an entry does")
    if version > VERSION:
        raise NewerEntry(f"it is of version {version}, and this program knows up to {VERSION}")
    if _PREAMBLE.unpack_from(head)[2] != len(head) or len(head) < _JSON_START:
        raise BrokenEntry("its head is cut")
    if _checksum(key, head[_JSON_START:], body) != head[_PREAMBLE_BYTES:_JSON_START]:
        raise BrokenEntry("its checksum is another")
    try:
        return _unpacked(key, json.loads(head[_JSON_START:]), body)
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenEntry("its head says what no entry's does") from error


def _packed(key: Key, created_s: float, fields: dict[str, Any], body: bytes, media_type: str) -> Packed:
    if not math.isfinite(created_s):
        raise ValueError("created_s must be a finite number of seconds")
    described = json.dumps({"kind": key.kind, "created_s": created_s, **fields}, separators=(",", ":")).encode("ascii")
    size = _JSON_START + len(described)
    if size > MAX_HEAD_BYTES:
        raise ValueError(f"what describes an entry may take {MAX_HEAD_BYTES} bytes, and this takes {size}")
    preamble = _PREAMBLE.pack(_MAGIC, VERSION, size)
    crc = zlib.crc32(preamble).to_bytes(4, "big")
    return Packed(preamble + crc + _checksum(key, described, body) + described, body, media_type)


def _version(head: bytes) -> int | None:
    """At least 1; None for what is no entry."""
    if len(head) < _PREAMBLE_BYTES:
        return None
    magic, version, _ = _PREAMBLE.unpack_from(head)
    crc = int.from_bytes(head[_PREAMBLE.size : _PREAMBLE_BYTES], "big")
    return int(version) or None if magic == _MAGIC and crc == zlib.crc32(head[: _PREAMBLE.size]) else None


def _unpacked(key: Key, fields: dict[str, Any], body: bytes) -> Cached:
    if fields["kind"] != key.kind:
        raise ValueError("the kind is not the key's")
    created_s = float(fields["created_s"])
    if key.kind == "codes":
        codes = np.frombuffer(body, "<i2").reshape(fields["codebooks"], fields["frames"])
        return CachedCodes(codes.astype(np.int16, copy=False), str(fields["numerics"]), created_s)
    if key.kind == "alias":
        return CachedAlias(int(fields["seed"]), created_s)
    return CachedSound(
        sound=body,
        media_type=str(fields["media_type"]),
        sample_rate=int(fields["sample_rate"]),
        channels=int(fields["channels"]),
        duration_ms=int(fields["duration_ms"]),
        created_s=created_s,
    )


def _checksum(key: Key, described: bytes, body: bytes) -> bytes:
    digest = hashlib.sha256(f"{key}\n".encode("ascii"))
    digest.update(described)
    digest.update(body)
    return digest.digest()
