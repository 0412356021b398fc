"""What is kept of an API key: enough to know it again, and not enough to make it.

Who asks.

One line of the audit: who asked for what, and what became of it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ApiKey:
    """id: the public part of the key. digest: SHA-256 of its secret part, 32 bytes. Times are seconds since 1970."""

    id: str
    tenant: str
    label: str
    digest: bytes
    created_s: float
    revoked_s: float | None = None


@dataclass(frozen=True)
class Caller:
    """tenant: whose generations, sound and keys are in reach; all there is where there are no keys. key_id: of the API
    key, empty without. scope: of the cache.
    """

    tenant: str = "local"
    key_id: str = ""
    scope: str = ""


@dataclass(frozen=True)
class AuditRecord:
    """at_s: seconds since 1970. key_hash: of the API key, 64 hexadecimal digits, empty without a right one. route: the
    path as the service declares it, nothing of the client's making. audio_s: asked for and granted. generation: the id
    of the job or the music. prompt: None where there is none, or the settings say so. seconds: that the answer took.
    """

    at_s: float
    request_id: str
    tenant: str
    key_id: str
    key_hash: str
    method: str
    route: str
    status: int
    model: str | None
    audio_s: float
    generation: str | None
    prompt: str | None
    seconds: float
