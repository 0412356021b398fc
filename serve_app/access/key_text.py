"""An API key as text: `mgs_<id>_<secret>`, an id of 16 hexadecimal digits and a secret of 43 characters.

The secret is 32 random bytes in base64url. So many bits can't be guessed, however fast the hash: plain SHA-256 is right
for them, where a password, which has few, needs a slow one.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field

_TEXT = re.compile(rb"mgs_(?P<id>[0-9a-f]{16})_(?P<secret>[A-Za-z0-9_-]{43})")
MAX_BYTES = 4 + 16 + 1 + 43


@dataclass(frozen=True)
class NewKey:
    """A key just drawn: the only moment at which its text is known to the service. The text is not shown by `repr`."""

    id: str
    text: str = field(repr=False)
    digest: bytes = field(repr=False)


def draw() -> NewKey:
    """A new key, like no other."""
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    return NewKey(key_id, f"mgs_{key_id}_{secret}", digest(secret.encode()))


def split(presented: bytes) -> tuple[str, bytes]:
    """The id and the secret. What is no key at all has the id of none, and its first bytes for a secret."""
    match = _TEXT.fullmatch(presented)
    if match is None:
        return "", presented[:MAX_BYTES]
    return match["id"].decode(), match["secret"]


def digest(secret: bytes) -> bytes:
    """What is kept of a secret: SHA-256, 32 bytes."""
    return hashlib.sha256(secret).digest()
