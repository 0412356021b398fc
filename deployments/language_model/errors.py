"""Why a replica of the language model refuses a generation or gives it up.

Without torch, for those who only ask one. Each comes through Ray as what it is, `identity` included.
"""

from __future__ import annotations

from deployments.messages import EngineIdentity


class EngineFull(Exception):
    """No more requests can wait here."""


class OtherEngine(Exception):
    """These frames were to be made by an engine that this one differs from. identity: this one's."""

    def __init__(self, identity: EngineIdentity) -> None:
        super().__init__(identity)
        self.identity = identity

    def __str__(self) -> str:
        return f"the generation was begun by another engine than this one, which is {self.identity}"


class OutOfMemory(Exception):
    """There was no memory for this generation when it got its slot. The others go on, and so does the engine."""


class Lapsed(Exception):
    """The replica gave no sign of life for so long that this generation is held to have been taken over."""


class EngineFailed(Exception):
    """The engine's thread has ended; this replica can't make anything any more."""
