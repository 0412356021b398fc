"""Identities and what is recorded of them: an API key, the caller of a request, a record of the audit log."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ApiKey:
    """What is stored of an API key: enough to recognise it, and not enough to make it.

    Attributes:
        id: the public part of the key.
        digest: SHA-256 of its secret part, 32 bytes.
        created_s: seconds since 1970.
        revoked_s: seconds since 1970; None for a valid key.
    """

    id: str
    tenant: str
    label: str
    digest: bytes
    created_s: float
    revoked_s: float | None = None


@dataclass(frozen=True)
class Caller:
    """Who sent a request.

    Attributes:
        tenant: whose generations, sound and keys the caller can reach; everything where the service has no keys.
        key_id: of the API key; empty without.
        scope: of the cache.
    """

    tenant: str = "local"
    key_id: str = ""
    scope: str = ""


@dataclass(frozen=True)
class AuditRecord:
    """One line of the audit log: who asked for what, and the outcome.

    Attributes:
        at_s: seconds since 1970.
        key_hash: of the API key, 64 hexadecimal digits; empty without a valid one.
        route: the path as the service declares it, nothing of the client's making.
        audio_s: seconds of music, asked for and granted.
        generation: the id of the job or the music.
        prompt: None where there is none, or the settings say `redacted`.
        seconds: that the answer took.
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
