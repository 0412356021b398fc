"""Who asks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Caller:
    """tenant: whose generations, sound and keys are in reach; all there is where there are no keys. key_id: of the API
    key, empty without. scope: of the cache.
    """

    tenant: str = "local"
    key_id: str = ""
    scope: str = ""
