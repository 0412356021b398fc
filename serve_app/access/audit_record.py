"""One line of the audit: who asked for what, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass


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
