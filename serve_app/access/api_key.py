"""What is kept of an API key: enough to know it again, and not enough to make it."""

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
