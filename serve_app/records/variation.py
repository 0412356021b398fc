"""What a runner and the jobs' table say to each other of a variation."""

from __future__ import annotations

from dataclasses import dataclass

from deployments.messages import CodeFrames, GenerationStart, MusicRequest, Resumption


@dataclass(frozen=True)
class VariationId:
    """job_id: 32 hexadecimal digits."""

    job_id: str
    number: int

    @property
    def lease_name(self) -> str:
        """Whoever holds this lease makes it."""
        return f"job/{self}"

    def __str__(self) -> str:
        return f"{self.job_id}/{self.number}"


@dataclass(frozen=True)
class Begun:
    """A variation that was claimed. attempts: this one included. resumption: what is saved of it; None: nothing yet."""

    request: MusicRequest
    num_frames: int
    attempts: int
    resumption: Resumption | None


@dataclass(frozen=True)
class Saving:
    """What is to be saved under a token. start: told once. Neither start nor frames: the token is asked for only."""

    variation: VariationId
    token: int
    start: GenerationStart | None
    frames: CodeFrames | None
