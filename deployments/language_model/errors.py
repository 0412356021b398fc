"""Why a replica of the language model refuses a request or gives it up.

Without torch, for processes that only call one. Each error crosses Ray as it is, `identity` included.
"""

from __future__ import annotations

from deployments.messages import EngineIdentity


class EngineFull(Exception):
    """Too many requests wait here."""


class EngineMismatch(Exception):
    """The request names another engine than this one.

    Args:
        identity: this one's.
    """

    def __init__(self, identity: EngineIdentity) -> None:
        super().__init__(identity)
        self.identity = identity

    def __str__(self) -> str:
        return f"the generation was begun by another engine than this one, which is {self.identity}"


class OutOfMemory(Exception):
    """There was no memory for this request when it got its slot. The others go on, and so does the engine."""


class EngineFenced(Exception):
    """The replica gave no sign of life for so long that this request counts as taken over by another (self-fencing)."""


class EngineFailed(Exception):
    """The engine's thread has ended; this replica can't make anything any more."""
