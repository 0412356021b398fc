"""The name of a generation: the same for the same request, whoever asks and whenever."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from deployments.messages import ModelCard, MusicRequest

_SCHEMA = 1


def generation_id(card: ModelCard, request: MusicRequest) -> str:
    """The first 32 hex digits of SHA-256 over the canonical JSON of all that decides the sound."""
    decides = {
        "schema": _SCHEMA,
        "model": card.name,
        "revision": card.revision,
        "prompt": request.prompt,
        "sampling": asdict(request.sampling),
        "seed": request.seed,
        "duration_ms": request.duration_ms,
    }
    canonical = json.dumps(decides, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()[:32]
